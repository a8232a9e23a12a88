// SPDX-License-Identifier: Apache-2.0
// bf16 and f16 by integer arithmetic, for scalars and for vectors alike: F is float or a vector of
// float, and the 16-bit values lie in the low halves of 32-bit lanes. Rounding is to nearest even;
// NaN stays NaN (quiet). Used where the processor has no instruction for it.
#pragma once

#include "kiln/lanes.h"

namespace kiln::soft {

template <class F>
KILN_DEVICE UintOf<F> bf16_bits(F x) {
  using U = UintOf<F>;
  const U bits = bits_of(x);
  const U rounded = (bits + U(0x7fffu) + ((bits >> 16) & U(1u))) >> 16;
  // Rounding a NaN up could carry into infinity: keep its top bits and set the quiet one.
  return select((bits & U(0x7fffffffu)) > U(0x7f800000u), (bits >> 16) | U(0x40u), rounded);
}

template <class F>
KILN_DEVICE F from_bf16_bits(UintOf<F> bits) {
  return from_bits<F>(bits << 16);
}

template <class F>
KILN_DEVICE UintOf<F> f16_bits(F x) {
  using U = UintOf<F>;
  const U bits = bits_of(x);
  const U sign = (bits >> 16) & U(0x8000u);
  const U magnitude = bits & U(0x7fffffffu);
  // Rebias the exponent by 127 - 15 and round the 13 low bits away; a carry reaches infinity.
  const U normal = (magnitude - U(0x38000000u) + U(0xfffu) + ((magnitude >> 13) & U(1u))) >> 13;
  // Near 0.5 a float's last bit is 2^-24, the smallest f16: adding 0.5 rounds as f16 would.
  const U subnormal = bits_of(from_bits<F>(magnitude) + F(0.5f)) - U(0x3f000000u);
  U half = select(magnitude < U(0x38800000u), subnormal, normal);
  half = select(magnitude >= U(0x47800000u), U(0x7c00u), half);
  half = select(magnitude > U(0x7f800000u), U(0x7e00u), half);
  return half | sign;
}

template <class F>
KILN_DEVICE F from_f16_bits(UintOf<F> half) {
  using U = UintOf<F>;
  const U sign = (half & U(0x8000u)) << 16;
  const U shifted = (half & U(0x7fffu)) << 13;
  const U normal = shifted + U(0x38000000u);
  const U special = shifted + U(0x70000000u);
  // 2^-14 (1 + m / 1024) - 2^-14 = m 2^-24, exactly.
  const U subnormal =
      bits_of(from_bits<F>(shifted + U(0x38800000u)) - from_bits<F>(U(0x38800000u)));
  U bits = select(shifted < U(0x400u << 13), subnormal, normal);
  bits = select(shifted >= U(0x7c00u << 13), special, bits);
  return from_bits<F>(bits | sign);
}

}  // namespace kiln::soft
