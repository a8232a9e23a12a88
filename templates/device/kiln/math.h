// SPDX-License-Identifier: Apache-2.0
// Elementary functions on float, or on vectors of float on the native CPU: one text, so that every
// dialect computes alike and what tests find on the CPU holds on the GPUs. LLVM's AMDGPU has no
// tanh, log1p or expm1 without device libraries, and a kernel links against none.
//
// Largest error in units in the last place (ulp), asserted over dense samples of all magnitudes by
// tests/templates/math_test.cpp; 0.5 is exact rounding:
//   exp, exp2, log, log1p  2        sigmoid, softplus, expm1  3        sqrt   0.5
//   log2                   3        tanh                      4        rsqrt  2
// Up to 1.5 more for sigmoid, tanh and rsqrt on NVIDIA, where `divide` is within 2 ulp.
// Arguments outside a function's domain give NaN; infinities, zeros and denormals are handled.
// The forms named fast_ use a GPU's own approximation: see kiln/fast_math.h.
#pragma once

#include "kiln/lanes.h"

namespace kiln {
namespace math_detail {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;
// ln 2 in two parts; the first has 15 significant bits, so that n times it is exact.
constexpr float kLn2High = 0.693145752f;
constexpr float kLn2Low = 1.42860682e-6f;
// Adding this rounds to an integer, which then stands in the low bits of the sum.
constexpr float kRounder = 12582912.0f;

template <class F>
struct Split {
  F whole;     // an integer
  F fraction;  // |fraction| <= 1/2 or, after exp's reduction, ln 2 / 2
};

template <class F>
KILN_DEVICE F round_whole(F x) {
  return (x + F(kRounder)) - F(kRounder);
}

template <class F>
KILN_DEVICE Split<F> split_exp(F x) {
  const F n = round_whole(x * F(kLog2E));
  return {n, fma(n, F(-kLn2Low), fma(n, F(-kLn2High), x))};
}

// 2^n for whole -126 <= n <= 127.
template <class F>
KILN_DEVICE F power_of_two(F n) {
  using U = UintOf<F>;
  const U whole = bits_of(n + F(kRounder)) - U(0x4b400000u);
  return from_bits<F>((whole + U(127u)) << 23);
}

// x 2^n for whole -252 <= n <= 254: two steps, so that results below the normal range round once.
template <class F>
KILN_DEVICE F scale(F x, F n) {
  const F half = round_whole(n * F(0.5f));
  return x * power_of_two(half) * power_of_two(n - half);
}

// e^r - 1 for |r| <= ln 2 / 2: minimax of degree 6 that keeps r and 1/2 r^2 exact in form.
template <class F>
KILN_DEVICE F expm1_poly(F r) {
  F p = fma(F(0.001388249556f), r, F(0.008366581134f));
  p = fma(p, r, F(0.04166720199f));
  p = fma(p, r, F(0.1666654317f));
  p = fma(p, r, F(0.4999999814f));
  return fma(r * r, p, r);
}

// log(1 + f) - f for sqrt(1/2) <= 1 + f <= sqrt(2).
template <class F>
KILN_DEVICE F log1p_poly(F f) {
  F p = fma(F(0.06746454823f), f, F(-0.1167562337f));
  p = fma(p, f, F(0.1188823209f));
  p = fma(p, f, F(-0.1240559722f));
  p = fma(p, f, F(0.1421954326f));
  p = fma(p, f, F(-0.1666799515f));
  p = fma(p, f, F(0.2000211914f));
  p = fma(p, f, F(-0.2500000962f));
  p = fma(p, f, F(0.333333126f));
  const F square = f * f;
  return fma(square * f, p, F(-0.5f) * square);
}

// x = m 2^k with sqrt(1/2) <= m < sqrt(2), for normal x > 0.
template <class F>
struct Mantissa {
  F m;
  F k;
};
template <class F>
KILN_DEVICE Mantissa<F> split_log(F x) {
  using U = UintOf<F>;
  const U offset = bits_of(x) - U(0x3f3504f3u);  // sqrt(1/2)
  // The shift is logical; the rounder turns the biased exponent back into a signed number.
  const U exponent = (offset + U(0x40000000u)) >> 23;
  const F k = from_bits<F>(exponent + U(0x4b400000u)) - F(kRounder + 128.0f);
  return {from_bits<F>((offset & U(0x7fffffu)) + U(0x3f3504f3u)), k};
}

// Puts log's values at zero, below zero, at infinity and at NaN over `result`.
template <class F>
KILN_DEVICE F log_specials(F x, F result) {
  const F infinity = from_bits<F>(UintOf<F>(0x7f800000u));
  const F nan = from_bits<F>(UintOf<F>(0x7fc00000u));
  result = select(x > F(0.0f), result, nan);
  result = select(x == F(0.0f), -infinity, result);
  return select(x == infinity, infinity, result);
}

// log's argument reduction, with denormals brought into range first.
template <class F>
KILN_DEVICE Mantissa<F> split_log_any(F x) {
  const auto denormal = x < F(1.17549435e-38f);
  Mantissa<F> split = split_log(select(denormal, x * F(8388608.0f), x));
  split.k = select(denormal, split.k - F(23.0f), split.k);
  return split;
}

}  // namespace math_detail

template <class F>
KILN_DEVICE F exp(F x) {
  x = select(x > F(89.0f), F(89.0f), x);  // a NaN compares false and stays
  x = select(x < F(-104.0f), F(-104.0f), x);
  const auto split = math_detail::split_exp(x);
  return math_detail::scale(F(1.0f) + math_detail::expm1_poly(split.fraction), split.whole);
}

template <class F>
KILN_DEVICE F exp2(F x) {
  x = select(x > F(129.0f), F(129.0f), x);
  x = select(x < F(-151.0f), F(-151.0f), x);
  const F n = math_detail::round_whole(x);
  const F p = math_detail::expm1_poly((x - n) * F(math_detail::kLn2));
  return math_detail::scale(F(1.0f) + p, n);
}

template <class F>
KILN_DEVICE F expm1(F x) {
  const F from = x;
  x = select(x > F(89.0f), F(89.0f), x);
  x = select(x < F(-30.0f), F(-30.0f), x);  // e^-30 is far below the last bit of 1
  const auto split = math_detail::split_exp(x);
  const F p = math_detail::expm1_poly(split.fraction);
  // Half the power, since 2^128 is not a float while e^x - 1 may be one.
  const F half_power = math_detail::power_of_two(split.whole - F(1.0f));
  const F result = F(2.0f) * fma(half_power, p, half_power - F(0.5f));
  return select(abs(from) < F(1e-7f), from, result);  // keeps -0 and denormals
}

template <class F>
KILN_DEVICE F log(F x) {
  const auto split = math_detail::split_log_any(x);
  const F f = split.m - F(1.0f);
  const F tail = fma(split.k, F(math_detail::kLn2Low), math_detail::log1p_poly(f));
  return math_detail::log_specials(x, fma(split.k, F(math_detail::kLn2High), f + tail));
}

template <class F>
KILN_DEVICE F log2(F x) {
  const auto split = math_detail::split_log_any(x);
  const F f = split.m - F(1.0f);
  const F natural = f + math_detail::log1p_poly(f);
  return math_detail::log_specials(x, fma(natural, F(math_detail::kLog2E), split.k));
}

template <class F>
KILN_DEVICE F log1p(F x) {
  const F u = x + F(1.0f);
  const auto split = math_detail::split_log(u);
  // What rounding 1 + x lost, put back at the mantissa's scale.
  const F lost = select(u > F(2.0f), F(1.0f) - (u - x), x - (u - F(1.0f)));
  const F k = select(split.k > F(126.0f), F(126.0f), split.k);  // 2^-k stays a normal number
  const F f = fma(lost, math_detail::power_of_two(-k), split.m - F(1.0f));
  const F tail = fma(split.k, F(math_detail::kLn2Low), math_detail::log1p_poly(f));
  const F result = fma(split.k, F(math_detail::kLn2High), f + tail);
  return select(abs(x) < F(1e-7f), x, math_detail::log_specials(u, result));
}

template <class F>
KILN_DEVICE F tanh(F x) {
  const F e = expm1(F(-2.0f) * abs(x));
  const F magnitude = divide(-e, e + F(2.0f));
  using U = UintOf<F>;
  return from_bits<F>((bits_of(magnitude) & U(0x7fffffffu)) | (bits_of(x) & U(0x80000000u)));
}

// 1 / (1 + e^-x), without overflow and with small results kept for large negative x.
template <class F>
KILN_DEVICE F sigmoid(F x) {
  const F e = exp(-abs(x));
  return divide(select(x < F(0.0f), e, F(1.0f)), F(1.0f) + e);
}

namespace math_detail {
// log(1 + x) for 0 <= x <= 1, where 1 + x need not be rounded: its half is taken from sqrt(2) on.
template <class F>
KILN_DEVICE F log1p_unit(F x) {
  const auto large = x > F(0.414213562f);
  const F f = select(large, fma(x, F(0.5f), F(-0.5f)), x);
  const F tail = log1p_poly(f);
  return select(large, F(kLn2High) + (f + (tail + F(kLn2Low))), f + tail);
}
}  // namespace math_detail

// log(1 + e^x), without overflow.
template <class F>
KILN_DEVICE F softplus(F x) {
  return select(x > F(0.0f), x, F(0.0f)) + math_detail::log1p_unit(exp(-abs(x)));
}

template <class F>
KILN_DEVICE F rsqrt(F x) {
  return divide(F(1.0f), sqrt(x));
}

}  // namespace kiln
