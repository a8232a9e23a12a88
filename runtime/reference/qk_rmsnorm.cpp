// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/qk_rmsnorm.h"

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

}  // namespace kiln::reference
