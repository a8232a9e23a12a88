// SPDX-License-Identifier: Apache-2.0
// Code loaded on one device of a GpuSession.
#pragma once

#include <memory>

#include "runtime/drivers/gpu_session.h"

namespace kiln {

// Errors: as Driver::load.
Result<std::unique_ptr<Module>> load_gpu_module(std::shared_ptr<GpuSession> session,
                                                const DeviceInfo& device, const Artifact& artifact);

}  // namespace kiln
