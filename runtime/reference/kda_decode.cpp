// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/kda_decode.h"

#include <cmath>
#include <vector>

namespace kiln::reference {
namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> scaled(std::span<const double> row, double factor) {
  std::vector<double> result(row.begin(), row.end());
  for (double& x : result) x *= factor;
  return result;
}

double inverse_norm(const KdaDecodeSettings& settings, std::span<const double> row) {
  return settings.qk_l2norm ? 1 / std::sqrt(dot(row, row) + settings.l2norm_eps) : 1;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double softplus(const KdaDecodeSettings& settings, double x) {
  const double scaled_x = settings.softplus_beta * x;
  if (scaled_x > settings.softplus_threshold) return x;
  return std::log1p(std::exp(scaled_x)) / settings.softplus_beta;
}

// e^g of key `j`.
double decay_of(const KdaDecodeSettings& settings, const KdaDecodeHead& head, std::size_t j) {
  const std::size_t at = settings.gate == KdaGate::scalar ? 0 : j;
  if (settings.gate == KdaGate::precomputed) return std::exp(head.a[at]);
  const double x = head.a[at] + (head.dt_bias.empty() ? 0 : head.dt_bias[at]);
  const double rate = std::exp(head.a_log);
  if (settings.gate == KdaGate::lower_bound) {
    return std::exp(settings.lower_bound * sigmoid(rate * x));
  }
  return std::exp(-rate * softplus(settings, x));
}

double beta_of(const KdaDecodeSettings& settings, double b) {
  if (settings.beta == KdaBeta::given) return b;
  return (settings.beta == KdaBeta::doubled ? 2 : 1) * sigmoid(b);
}

}  // namespace

void kda_decode_head(const KdaDecodeSettings& settings, const KdaDecodeHead& head,
                     std::span<double> state, std::span<double> out) {
  const std::size_t k_size = head.k.size();
  const std::size_t v_size = head.v.size();
  const std::vector<double> q = scaled(head.q, inverse_norm(settings, head.q) * settings.scale);
  const std::vector<double> k = scaled(head.k, inverse_norm(settings, head.k));
  const double beta = beta_of(settings, head.b);

  for (std::size_t j = 0; j < k_size; ++j) {
    const double decay = decay_of(settings, head, j);
    for (std::size_t i = 0; i < v_size; ++i) state[i * k_size + j] *= decay;
  }
  std::vector<double> u(v_size);
  for (std::size_t i = 0; i < v_size; ++i) {
    u[i] = beta * (head.v[i] - dot(state.subspan(i * k_size, k_size), k));
  }
  for (std::size_t i = 0; i < v_size; ++i) {
    for (std::size_t j = 0; j < k_size; ++j) state[i * k_size + j] += u[i] * k[j];
  }
  for (std::size_t i = 0; i < v_size; ++i) out[i] = dot(state.subspan(i * k_size, k_size), q);
}

}  // namespace kiln::reference
