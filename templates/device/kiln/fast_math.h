// SPDX-License-Identifier: Apache-2.0
// Approximations that the GPU computes by itself. Errors on NVIDIA, from the PTX manual; elsewhere
// these are the functions of kiln/math.h.
#pragma once

#include "kiln/math.h"

namespace kiln {

// The larger; of a number and NaN the number.
KILN_DEVICE float fast_max(float x, float y) {
#if KILN_DIALECT_CUDA
  return fmaxf(x, y);  // one instruction, which a comparison and a choice are not: NaN
#else
  return x < y || x != x ? y : x;
#endif
}

// 2^x, relative error 2^-22; results below the normal range become zero.
KILN_DEVICE float fast_exp2(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2(x);
#endif
}

// e^x by fast_exp2; the error grows with |x|: about |x| 2^-24 relative.
KILN_DEVICE float fast_exp(float x) {
  return fast_exp2(x * math_detail::kLog2E);
}

// log2 x, absolute error 2^-22 for x near 1 and relative error 2^-22 elsewhere.
KILN_DEVICE float fast_log2(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return log2(x);
#endif
}

KILN_DEVICE float fast_log(float x) {
  return fast_log2(x) * math_detail::kLn2;
}

// Relative error 2^-11.
KILN_DEVICE float fast_tanh(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return tanh(x);
#endif
}

// Absolute error 2^-12.
KILN_DEVICE float fast_sigmoid(float x) {
  return fma(fast_tanh(0.5f * x), 0.5f, 0.5f);
}

// Relative error 2^-22.9.
KILN_DEVICE float fast_rsqrt(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return rsqrt(x);
#endif
}

// 1 / x, within 1 ulp.
KILN_DEVICE float fast_reciprocal(float x) {
#if KILN_DIALECT_CUDA
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return divide(1.0f, x);
#endif
}

}  // namespace kiln
