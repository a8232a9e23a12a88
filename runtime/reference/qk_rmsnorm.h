// SPDX-License-Identifier: Apache-2.0
// The RMS norm of qk_rmsnorm in fp64; shares nothing with the kernels. Inputs are what the kernel
// was given, widened: rounding them is the caller's.
#pragma once

#include <span>

namespace kiln::reference {

struct RmsnormSettings {
  double eps = 1e-6;         // added to the mean of the squares
  bool weight_bias = false;  // 1 + w multiplies instead of w
};

// out[i] = x[i] / sqrt(mean(x^2) + eps) * w[i]; all three of one size. Thread-safe.
void rmsnorm(const RmsnormSettings& settings, std::span<const double> x,
             std::span<const double> weight, std::span<double> out);

// Rotates the first 2 * cos.size() elements of `x` by angles of these cosines and sines, in pairs
// (i, i + half) or, interleaved, (2i, 2i + 1). Thread-safe.
void rope(bool interleaved, std::span<const double> cos, std::span<const double> sin,
          std::span<double> x);

// The scale of elements that share one as e4m3: max(|x|, 1e-10) / 448. Thread-safe.
double e4m3_scale(std::span<const double> x);

}  // namespace kiln::reference
