// SPDX-License-Identifier: Apache-2.0
// float to and from the storage types, one value or two at a time. Round to nearest even; NaN stays
// NaN. GPUs use their instructions; kiln/float_bits.h is the same by integer arithmetic.
#pragma once

#include "kiln/float_bits.h"

namespace kiln {

KILN_DEVICE float to_float(float x) {
  return x;
}
KILN_DEVICE float to_float(bf16 x) {
  return bit_cast<float>(static_cast<u32>(x.bits) << 16);
}
KILN_DEVICE float to_float(f16 x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#elif KILN_DIALECT_HIP
  return static_cast<float>(bit_cast<_Float16>(x.bits));
#else
  return soft::from_f16_bits<float>(x.bits);
#endif
}

namespace convert_detail {
template <class T>
struct To;
template <>
struct To<float> {
  KILN_DEVICE static float from(float x) { return x; }
};
template <>
struct To<bf16> {
  KILN_DEVICE static bf16 from(float x) {
#if KILN_DIALECT_CUDA
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bf16{bits};
#else
    return bf16{static_cast<u16>(soft::bf16_bits(x))};
#endif
  }
};
template <>
struct To<f16> {
  KILN_DEVICE static f16 from(float x) {
#if KILN_DIALECT_CUDA
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return f16{bits};
#elif KILN_DIALECT_HIP
    return f16{bit_cast<u16>(static_cast<_Float16>(x))};
#else
    return f16{static_cast<u16>(soft::f16_bits(x))};
#endif
  }
};
}  // namespace convert_detail

// from_float<bf16>(x)
template <class T>
KILN_DEVICE T from_float(float x) {
  return convert_detail::To<T>::from(x);
}

// Two values in one register, `low` at the lower address: what mma and 32-bit stores take.
template <class T>
KILN_DEVICE u32 pack2(float low, float high) {
  static_assert(sizeof(T) == 2, "pack2 packs 16-bit types");
#if KILN_DIALECT_CUDA
  u32 bits;
  if constexpr (is_same<T, bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  }
  return bits;
#else
  return from_float<T>(low).bits | static_cast<u32>(from_float<T>(high).bits) << 16;
#endif
}

template <class T>
KILN_DEVICE Vec<float, 2> unpack2(u32 bits) {
  static_assert(sizeof(T) == 2, "unpack2 unpacks 16-bit types");
  return {{to_float(T{static_cast<u16>(bits)}), to_float(T{static_cast<u16>(bits >> 16)})}};
}

}  // namespace kiln
