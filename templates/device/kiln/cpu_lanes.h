// SPDX-License-Identifier: Apache-2.0
// Vectors of the native CPU, as wide as the x86-64 level that is compiled for: 16 floats with
// AVX-512 (v4), 8 with AVX2 (v3), else 4; and the operations of kiln/lanes.h on them. Written for
// clang. Included by kiln/lanes.h, since templates find functions of vectors only if declared
// before them.
#pragma once

#include "kiln/base.h"

namespace kiln {

#if defined(__AVX512F__)
inline constexpr int vector_lanes = 16;
#elif defined(__AVX2__)
inline constexpr int vector_lanes = 8;
#else
inline constexpr int vector_lanes = 4;
#endif

typedef float Floats __attribute__((ext_vector_type(vector_lanes)));
typedef u32 Uints __attribute__((ext_vector_type(vector_lanes)));
typedef i32 Ints __attribute__((ext_vector_type(vector_lanes)));

KILN_DEVICE Uints bits_of(Floats x) {
  return bit_cast<Uints>(x);
}
KILN_DEVICE Floats select(Ints condition, Floats yes, Floats no) {
  return condition ? yes : no;
}
KILN_DEVICE Uints select(Ints condition, Uints yes, Uints no) {
  return condition ? yes : no;
}
KILN_DEVICE Floats fma(Floats a, Floats b, Floats c) {
#if defined(__FMA__)
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}
KILN_DEVICE Floats abs(Floats x) {
  return bit_cast<Floats>(bit_cast<Uints>(x) & Uints(0x7fffffffu));
}
KILN_DEVICE Floats sqrt(Floats x) {
  return __builtin_elementwise_sqrt(x);
}
KILN_DEVICE Floats divide(Floats a, Floats b) {
  return a / b;
}

}  // namespace kiln
