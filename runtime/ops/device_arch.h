// SPDX-License-Identifier: Apache-2.0
// Which arch the kernels for tensors on a device are compiled for.
#pragma once

#include <dlpack/dlpack.h>

#include "kiln/runtime.h"

namespace kiln {

// The one that `options` names, else the device's own. Errors: unavailable, when this build or
// machine has no driver for the device.
Result<Arch> device_arch(const Runtime& runtime, DLDevice device, const CallOptions& options);

}  // namespace kiln
