// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/call.h"

#include "runtime/runtime_impl.h"

namespace kiln {

Result<void> call_op(Runtime& runtime, const PackedShape& shape, DLDevice device,
                     const void* params, const CallOptions& options) {
  const CallKey key{shape, device, options.arch ? options.arch->name() : std::string_view()};
  return runtime.impl_->calls.launch(key, params, options);
}

}  // namespace kiln
