// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/router_gemm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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

std::vector<double> scores_of(const RouterGateCall& call) {
  std::vector<double> scores(call.logits.begin(), call.logits.end());
  if (!call.softmax) {
    for (double& score : scores) score = 1 / (1 + std::exp(-score));
    return scores;
  }
  double largest = -std::numeric_limits<double>::infinity();
  for (const double logit : scores) largest = std::max(largest, logit);
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
  return scores;
}

// The first `count` of all by falling value, NaN last, equals by index. `margin` shrinks to the
// smallest difference between neighbours in this order up to the first that is left out.
std::vector<int> best_of(const std::vector<double>& values, std::vector<int> all, int count,
                         double& margin) {
  const auto value = [&](int i) { return values[static_cast<std::size_t>(i)]; };
  std::stable_sort(all.begin(), all.end(), [&](int a, int b) {
    if (std::isnan(value(b))) return !std::isnan(value(a));
    return value(a) > value(b);
  });
  for (std::size_t i = 1; i < all.size() && i <= static_cast<std::size_t>(count); ++i) {
    const double gap = value(all[i - 1]) - value(all[i]);
    if (gap > 0) margin = std::min(margin, gap);
  }
  all.resize(static_cast<std::size_t>(count));
  return all;
}

std::vector<int> numbers(int first, int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), first);
  return all;
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

RouterChoice router_choose(const RouterGateCall& call) {
  RouterChoice choice;
  choice.margin = std::numeric_limits<double>::infinity();
  std::vector<double> ranked = scores_of(call);
  for (std::size_t n = 0; n < call.correction.size(); ++n) ranked[n] += call.correction[n];
  const int size = static_cast<int>(ranked.size()) / call.n_group;
  std::vector<int> among = numbers(0, static_cast<int>(ranked.size()));
  if (call.n_group > 1) {
    std::vector<double> sums;
    for (int group = 0; group < call.n_group; ++group) {
      double unused = 0;  // which of two equals is second does not matter to their sum
      const auto two = best_of(ranked, numbers(group * size, size), 2, unused);
      sums.push_back(ranked[static_cast<std::size_t>(two[0])] +
                     ranked[static_cast<std::size_t>(two[1])]);
    }
    among.clear();
    auto kept = best_of(sums, numbers(0, call.n_group), call.topk_group, choice.margin);
    std::sort(kept.begin(), kept.end());
    for (const int group : kept) {
      for (const int expert : numbers(group * size, size)) among.push_back(expert);
    }
  }
  choice.ids = best_of(ranked, among, call.topk, choice.margin);
  return choice;
}

std::vector<double> router_weights(const RouterGateCall& call, std::span<const int> ids) {
  const std::vector<double> scores = scores_of(call);
  std::vector<double> weights;
  for (const int id : ids) weights.push_back(scores[static_cast<std::size_t>(id)]);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0) + 1e-20;
  for (double& weight : weights) weight = weight / (call.renormalize ? sum : 1) * call.scale;
  return weights;
}

}  // namespace kiln::reference
