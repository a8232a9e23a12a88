// SPDX-License-Identifier: Apache-2.0
// float to e4m3 (the 8-bit float of the Open Compute Project without infinities) by integer
// arithmetic, for scalars and for vectors alike.
#pragma once

#include "kiln/lanes.h"

namespace kiln {

inline constexpr float kE4m3Max = 448.0f;

// Rounded to nearest even; what is larger than the largest number, infinity too, becomes that. NaN
// stays NaN. In the low byte of each lane.
template <class F>
KILN_DEVICE UintOf<F> e4m3_bits(F x) {
  using U = UintOf<F>;
  const U bits = bits_of(x);
  const U sign = (bits >> 24) & U(0x80u);
  const U magnitude = bits & U(0x7fffffffu);
  const U bounded = select(magnitude > U(0x43e00000u), U(0x43e00000u), magnitude);
  // Rebias the exponent by 127 - 7 and round the 20 low bits away.
  const U normal = (bounded - U(0x3c000000u) + U(0x7ffffu) + ((bounded >> 20) & U(1u))) >> 20;
  // Near 2^14 a float's last bit is 2^-9, the smallest e4m3: adding 2^14 rounds as e4m3 would.
  const U subnormal = bits_of(from_bits<F>(bounded) + F(16384.0f)) - U(0x46800000u);
  const U rounded = select(bounded < U(0x3c800000u), subnormal, normal);
  return select(magnitude > U(0x7f800000u), U(0x7fu), rounded) | sign;
}

}  // namespace kiln
