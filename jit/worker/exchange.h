// SPDX-License-Identifier: Apache-2.0
// One question to one worker and its answer.
#pragma once

#include <stop_token>

#include "jit/worker/worker_pool.h"

namespace kiln {

// Sends `request` and waits for the reply of that sequence number. After a failure the worker has
// been ended, and is of no more use.
tl::expected<Record, WorkerFailure> exchange(WorkerProcess& worker, std::uint64_t sequence,
                                             std::string payload, const WorkerLimits& limits,
                                             const std::stop_token& stop);

}  // namespace kiln
