// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/qk_rmsnorm.h"

#include <algorithm>
#include <cmath>

namespace kiln::reference {

void rmsnorm(const RmsnormSettings& settings, std::span<const double> x,
             std::span<const double> weight, std::span<double> out) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double root = std::sqrt(squares / static_cast<double>(x.size()) + settings.eps);
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = x[i] / root * (settings.weight_bias ? 1 + weight[i] : weight[i]);
  }
}

void rope(bool interleaved, std::span<const double> cos, std::span<const double> sin,
          std::span<double> x) {
  const std::size_t half = cos.size();
  for (std::size_t i = 0; i < half; ++i) {
    double& a = x[interleaved ? 2 * i : i];
    double& b = x[interleaved ? 2 * i + 1 : i + half];
    const double old_a = a;
    a = old_a * cos[i] - b * sin[i];
    b = b * cos[i] + old_a * sin[i];
  }
}

double e4m3_scale(std::span<const double> x) {
  double largest = 1e-10;
  for (const double value : x) largest = std::max(largest, std::abs(value));
  return largest / 448;
}

}  // namespace kiln::reference
