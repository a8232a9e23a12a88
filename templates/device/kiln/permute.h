// SPDX-License-Identifier: Apache-2.0
// Bytes of two words in a new order.
#pragma once

#include "kiln/base.h"

namespace kiln {

// Byte i of the result is the one that hexadecimal digit i of `selector` names, from the lowest on:
// 0 to 3 are the bytes of a, 4 to 7 those of b.
template <u32 selector>
KILN_DEVICE u32 permute_bytes(u32 a, u32 b) {
#if KILN_DIALECT_CUDA
  return __byte_perm(a, b, selector);
#else
  const u64 both = static_cast<u64>(b) << 32 | a;
  u32 result = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const u32 byte = static_cast<u32>(both >> (selector >> 4 * i & 7) * 8) & 0xffu;
    result |= byte << 8 * i;
  }
  return result;
#endif
}

}  // namespace kiln
