// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/router_gemm.h"

#include <cmath>

namespace kiln::reference {
namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::span<const double> row_of(std::span<const double> matrix, std::int64_t row,
                               std::int64_t size) {
  return matrix.subspan(static_cast<std::size_t>(row * size), static_cast<std::size_t>(size));
}

}  // namespace

void router_gemm(const RouterGemmCall& call, std::span<double> out) {
  for (std::int64_t m = 0; m < call.tokens; ++m) {
    for (std::int64_t n = 0; n < call.experts; ++n) {
      const double bias = call.bias.empty() ? 0 : call.bias[static_cast<std::size_t>(n)];
      out[static_cast<std::size_t>(m * call.experts + n)] =
          bias + dot(row_of(call.a, m, call.hidden), row_of(call.w, n, call.hidden));
    }
  }
}

double router_gemm_allowed(std::int64_t hidden, double a_norm, double w_norm) {
  return 4e-7 * std::sqrt(static_cast<double>(hidden)) * a_norm * w_norm;
}

}  // namespace kiln::reference
