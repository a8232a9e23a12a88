// SPDX-License-Identifier: Apache-2.0
// From the words of a shape to the type that they name:
//
//   using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
#pragma once

#include "kiln/base.h"

namespace kiln {
namespace storage_type_detail {
template <bool is_bf16, bool is_f16>
struct Choose {
  using type = float;
};
template <>
struct Choose<true, false> {
  using type = bf16;
};
template <>
struct Choose<false, true> {
  using type = f16;
};
}  // namespace storage_type_detail

// bf16, f16, or float where it is neither.
template <bool is_bf16, bool is_f16>
using StorageType = typename storage_type_detail::Choose<is_bf16, is_f16>::type;

}  // namespace kiln
