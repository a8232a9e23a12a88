// SPDX-License-Identifier: Apache-2.0
// What every op does once its tensors are checked and its parameter struct is filled.
#pragma once

#include <dlpack/dlpack.h>

#include "kiln/runtime.h"

namespace kiln {

// Selects the implementation for `shape` and these `params` (op.params_bytes long) on `device`,
// gets its kernel and launches it. Errors: those of Runtime::select, Runtime::kernel and the
// driver; unavailable, when this build or machine has no driver for the device.
Result<void> call_op(Runtime& runtime, const Op& op, const Shape& shape, DLDevice device,
                     const void* params, const CallOptions& options);

}  // namespace kiln
