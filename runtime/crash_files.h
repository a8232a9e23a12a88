// SPDX-License-Identifier: Apache-2.0
// Crashes of compilers, remembered from process to process: a small file for each, in a folder
// beside the store.
#pragma once

#include <memory>

#include "jit/worker/isolation.h"
#include "kiln/options.h"

namespace kiln {

// By the rules of the cache's folder and policy: nothing is written but under `read_write`, a
// folder that others may write to is not read, and with no disk cache the result is null.
std::shared_ptr<CrashMemory> open_crash_files(const Options& options);

}  // namespace kiln
