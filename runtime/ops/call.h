// SPDX-License-Identifier: Apache-2.0
// What every op does once its tensors are checked and its parameter struct is filled.
#pragma once

#include <dlpack/dlpack.h>

#include <cstring>
#include <type_traits>

#include "kiln/runtime.h"
#include "runtime/ops/tensor_check.h"
#include "runtime/packed_shape.h"

namespace kiln {

// name_of(type) as the word of a shape, worked out by the compiler.
constexpr ShapeTag tag_of(ElementType type) {
  constexpr ShapeTag kTags[] = {"bf16", "f16", "f32", "i32", "i64", "e4m3", "e5m2", "u8"};
  return kTags[static_cast<int>(type)];
}

// All zeros, and null pointers. By the library's memset: where the size is known, GCC clears with
// `rep stos`, which takes longer than the checks of several tensors.
template <class Params>
void clear_params(Params* params) {
  static_assert(std::is_trivially_copyable_v<Params>);
  std::size_t size = sizeof(Params);
  asm("" : "+r"(size));
  std::memset(params, 0, size);
}

// Selects the implementation for `shape` and these `params` (shape.op().params_bytes long) on
// `device`, gets its kernel and launches it; allocates nothing and takes no lock where the kernel
// is loaded. Where the best implementation's kernel cannot be had, the next one that serves is
// taken. Errors: those of Runtime::select, Runtime::kernel and the driver; unavailable, when this
// build or machine has no driver for the device.
Result<void> call_op(Runtime& runtime, const PackedShape& shape, DLDevice device,
                     const void* params, const CallOptions& options);

}  // namespace kiln
