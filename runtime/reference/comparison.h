// SPDX-License-Identifier: Apache-2.0
// Comparison: gathers how far outputs are from their reference, element by element.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "runtime/reference/trial.h"

namespace kiln {

class Comparison {
 public:
  Comparison(std::string name, std::string allowed) {
    error_.name = std::move(name);
    error_.allowed = std::move(allowed);
  }

  // `allowed` > 0: how far `got` may be from `expected`. A NaN or an infinity must be met exactly.
  void add(double got, double expected, double allowed) {
    if (std::isfinite(got) && std::isfinite(expected)) {
      const double distance = std::abs(got - expected);
      error_.abs_max = std::max(error_.abs_max, distance);
      error_.bound_ratio = std::max(error_.bound_ratio, distance / allowed);
    } else if (!(got == expected || (std::isnan(got) && std::isnan(expected)))) {
      reject();
    }
  }
  // Something that must be equal to the last bit is not.
  void reject() {
    error_.abs_max = std::numeric_limits<double>::infinity();
    error_.bound_ratio = std::numeric_limits<double>::infinity();
  }
  const OutputError& result() const { return error_; }

 private:
  OutputError error_;
};

// One unit in the last place of a bf16 near `value`: 8 significant bits.
inline double bf16_ulp(double value) {
  constexpr double kSmallestNormal = 1.1754943508222875e-38;
  return std::exp2(std::floor(std::log2(std::max(std::abs(value), kSmallestNormal))) - 7);
}

}  // namespace kiln
