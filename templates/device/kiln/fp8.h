// SPDX-License-Identifier: Apache-2.0
// The two 8-bit floats of the Open Compute Project, for storage only: e4m3 (no infinity; finite up
// to 448) and e5m2 (an f16 without its low mantissa byte). Every value of either is a float,
// exactly; NaN stays NaN.
#pragma once

#include "kiln/convert.h"
#if KILN_DIALECT_CPU
#include "kiln/cpu_vector.h"
#endif

namespace kiln {

struct e4m3 {
  u8 bits;
};
struct e5m2 {
  u8 bits;
};

KILN_DEVICE float to_float(e5m2 x) {
  return to_float(f16{static_cast<u16>(x.bits << 8)});
}
// Its bits are those of an f16 that is 2^8 smaller, but for NaN.
KILN_DEVICE float to_float(e4m3 x) {
  const u32 magnitude = x.bits & 0x7fu;
  const u32 half = (x.bits & 0x80u) << 8 | magnitude << 7;
  const float value = to_float(f16{static_cast<u16>(half)}) * 256.0f;
  return select(magnitude == 0x7fu, bit_cast<float>(0x7fffffffu), value);
}

// Two of them, the first one in the lowest byte, to two f16, which hold each fp8 exactly.
template <class T>
KILN_DEVICE u32 unpack2_f16(u32 bits) {
  if constexpr (is_same<T, e5m2>) return (bits & 0xffu) << 8 | (bits & 0xff00u) << 16;
#if KILN_DIALECT_CUDA && KILN_SM >= 890
  u32 pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"(static_cast<u16>(bits)));
  return pair;
#else
  return pack2<f16>(to_float(T{static_cast<u8>(bits)}), to_float(T{static_cast<u8>(bits >> 8)}));
#endif
}

#if KILN_DIALECT_CPU
namespace fp8_detail {
typedef u8 Bytes __attribute__((ext_vector_type(vector_lanes)));

KILN_DEVICE Uints load_bytes(const void* from) {
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, Uints);
}
KILN_DEVICE Floats from_half_bits(Uints half) {
#if defined(__F16C__)
  return __builtin_convertvector(bit_cast<Halves>(__builtin_convertvector(half, Shorts)), Floats);
#else
  return soft::from_f16_bits<Floats>(half);
#endif
}
}  // namespace fp8_detail

KILN_DEVICE Floats load(const e5m2* from) {
  return fp8_detail::from_half_bits(fp8_detail::load_bytes(from) << 8);
}
KILN_DEVICE Floats load(const e4m3* from) {
  const Uints bits = fp8_detail::load_bytes(from);
  const Uints magnitude = bits & Uints(0x7fu);
  const Floats value =
      fp8_detail::from_half_bits((bits & Uints(0x80u)) << 8 | magnitude << 7) * Floats(256.0f);
  return select(magnitude == Uints(0x7fu), bit_cast<Floats>(Uints(0x7fffffffu)), value);
}
#endif

namespace fp8_detail {
template <bool is_f16, bool is_e4m3, bool is_e5m2>
struct Choose {
  using type = bf16;
};
template <>
struct Choose<true, false, false> {
  using type = f16;
};
template <>
struct Choose<false, true, false> {
  using type = e4m3;
};
template <>
struct Choose<false, false, true> {
  using type = e5m2;
};
}  // namespace fp8_detail

// The type of a cache from the words of a shape; bf16 where it is none of them.
template <bool is_f16, bool is_e4m3, bool is_e5m2>
using CacheType = typename fp8_detail::Choose<is_f16, is_e4m3, is_e5m2>::type;

}  // namespace kiln
