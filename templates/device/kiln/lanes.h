// SPDX-License-Identifier: Apache-2.0
// The few operations that differ between one float and a vector of floats, so that the maths is
// written once.
#pragma once

#include "kiln/base.h"
#if KILN_DIALECT_CPU
#include "kiln/cpu_lanes.h"
#endif

namespace kiln {

template <class F>
struct LaneTypes;
template <>
struct LaneTypes<float> {
  using Uint = u32;
};
#if KILN_DIALECT_CPU
template <>
struct LaneTypes<Floats> {
  using Uint = Uints;
};
#endif
template <class F>
using UintOf = typename LaneTypes<F>::Uint;

KILN_DEVICE u32 bits_of(float x) {
  return bit_cast<u32>(x);
}
template <class F>
KILN_DEVICE F from_bits(UintOf<F> bits) {
  return bit_cast<F>(bits);
}

KILN_DEVICE float select(bool condition, float yes, float no) {
  return condition ? yes : no;
}
KILN_DEVICE u32 select(bool condition, u32 yes, u32 no) {
  return condition ? yes : no;
}

// a * b + c, rounded once where the processor can do that at speed (everywhere but x86-64-v2).
KILN_DEVICE float fma(float a, float b, float c) {
#if KILN_DIALECT_CUDA
  return __fmaf_rn(a, b, c);
#elif KILN_DIALECT_CPU && !defined(__FMA__)
  return a * b + c;                      // __builtin_fmaf would call the C library
#else
  return __builtin_fmaf(a, b, c);
#endif
}

KILN_DEVICE float abs(float x) {
  return bit_cast<float>(bit_cast<u32>(x) & 0x7fffffffu);
}

// Correctly rounded.
KILN_DEVICE float sqrt(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#elif KILN_DIALECT_CPU
  return __builtin_elementwise_sqrt(x);  // __builtin_sqrtf would call the C library for errno
#else
  return __builtin_sqrtf(x);
#endif
}

// Within 2 units in the last place, over the full range; for maths that is not exact anyway.
KILN_DEVICE float divide(float a, float b) {
#if KILN_DIALECT_CUDA
  float y;
  asm("div.full.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
#else
  return a / b;
#endif
}

}  // namespace kiln
