// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/kda_decode.h"

#include <algorithm>
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

double softplus(const KdaDecodeSettings& settings, double x) {
  const double scaled_x = settings.softplus_beta * x;
  if (scaled_x > settings.softplus_threshold) return x;
  return std::log1p(std::exp(scaled_x)) / settings.softplus_beta;
}

}  // namespace

void kda_decode_head(const KdaDecodeSettings& settings, const KdaDecodeHead& head,
                     std::span<double> state, std::span<double> out) {
  const std::size_t k_size = head.k.size();
  const std::size_t v_size = head.v.size();
  const std::vector<double> q = scaled(head.q, inverse_norm(settings, head.q) * settings.scale);
  const std::vector<double> k = scaled(head.k, inverse_norm(settings, head.k));
  const double beta = 1 / (1 + std::exp(-head.b));

  for (std::size_t j = 0; j < k_size; ++j) {
    const double x = head.a[j] + (head.dt_bias.empty() ? 0 : head.dt_bias[j]);
    const double decay = std::exp(-std::exp(head.a_log) * softplus(settings, x));
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

void kda_decode(const KdaDecodeCall& call, std::span<double> state, std::span<double> out) {
  const auto row = [](std::span<const double> tensor, std::int64_t index, std::int64_t size) {
    return tensor.subspan(static_cast<std::size_t>(index * size), static_cast<std::size_t>(size));
  };
  const std::int64_t matrix = call.v_size * call.k_size;
  for (std::int64_t n = 0; n < call.batch; ++n) {
    const std::int64_t slot = call.slots[static_cast<std::size_t>(n)];
    for (std::int64_t hv = 0; hv < call.value_heads; ++hv) {
      const std::int64_t at = n * call.value_heads + hv;
      const auto out_row = out.subspan(static_cast<std::size_t>(at * call.v_size),
                                       static_cast<std::size_t>(call.v_size));
      if (slot < 0 || slot >= call.pool) {
        std::fill(out_row.begin(), out_row.end(), 0.0);
        continue;
      }
      const std::int64_t qk = n * call.heads + hv / (call.value_heads / call.heads);
      KdaDecodeHead head;
      head.q = row(call.q, qk, call.k_size);
      head.k = row(call.k, qk, call.k_size);
      head.v = row(call.v, at, call.v_size);
      head.a = row(call.a, at, call.k_size);
      if (!call.dt_bias.empty()) head.dt_bias = row(call.dt_bias, hv, call.k_size);
      head.b = call.b[static_cast<std::size_t>(at)];
      head.a_log = call.a_log[static_cast<std::size_t>(hv)];
      const std::int64_t state_at = (slot * call.value_heads + hv) * matrix;
      kda_decode_head(
          call.settings, head,
          state.subspan(static_cast<std::size_t>(state_at), static_cast<std::size_t>(matrix)),
          out_row);
    }
  }
}

}  // namespace kiln::reference
