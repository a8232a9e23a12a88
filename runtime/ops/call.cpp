// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/call.h"

#include "runtime/ops/device_arch.h"

namespace kiln {

Result<void> call_op(Runtime& runtime, const Op& op, const Shape& shape, DLDevice device,
                     const void* params, const CallOptions& options) {
  KILN_TRY_ASSIGN(const Arch arch, device_arch(runtime, device, options));
  KILN_TRY_ASSIGN(const Selection selection, runtime.select(op, shape, arch, params));
  if (options.selected) *options.selected = selection;
  KILN_TRY_ASSIGN(const auto kernel,
                  runtime.kernel(selection, shape, arch, device.device_id, options.stream));
  return kernel->launch(selection.implementation->plan(shape, params), params, op.params_bytes,
                        options.stream);
}

}  // namespace kiln
