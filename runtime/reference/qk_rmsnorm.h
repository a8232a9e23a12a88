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

}  // namespace kiln::reference
