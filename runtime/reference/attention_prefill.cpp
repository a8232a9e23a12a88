// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_prefill.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace kiln::reference {
namespace {

struct Logit {
  std::int64_t key;
  double value;
};

// Those of the keys that are seen.
std::vector<Logit> logits_of(const AttentionRule& rule, std::int64_t i, std::int64_t queries,
                             std::span<const double> q, std::span<const double> k,
                             AttentionRow& row) {
  std::vector<Logit> logits;
  const auto keys = static_cast<std::int64_t>(k.size() / q.size());
  for (std::int64_t j = 0; j < keys; ++j) {
    if (!sees(rule, i, queries, keys, j)) continue;
    double score = 0, score_terms = 0;
    for (std::size_t d = 0; d < q.size(); ++d) {
      const double term = rule.scale * q[d] * k[static_cast<std::size_t>(j) * q.size() + d];
      score += term;
      score_terms += std::abs(term);
    }
    row.score_terms_max = std::max(row.score_terms_max, score_terms);
    if (rule.softcap > 0) score = rule.softcap * std::tanh(score / rule.softcap);
    if (rule.transform) score = rule.transform(j, score);
    logits.push_back({j, score});
  }
  row.keys_seen = static_cast<std::int64_t>(logits.size());
  return logits;
}

double log_of_sum(const AttentionRule& rule, const std::vector<Logit>& logits) {
  double largest = rule.sink.value_or(-std::numeric_limits<double>::infinity());
  for (const Logit& logit : logits) largest = std::max(largest, logit.value);
  if (std::isinf(largest)) return largest;
  double sum = rule.sink ? std::exp(*rule.sink - largest) : 0;
  for (const Logit& logit : logits) sum += std::exp(logit.value - largest);
  return largest + std::log(sum);
}

}  // namespace

bool sees(const AttentionRule& rule, std::int64_t i, std::int64_t queries, std::int64_t keys,
          std::int64_t j) {
  const std::int64_t distance = j - (i + keys - queries);
  if (rule.causal && distance > 0) return false;
  if (rule.window_left >= 0 && distance < -rule.window_left) return false;
  if (rule.window_right >= 0 && distance > rule.window_right) return false;
  return !rule.sees || rule.sees(j);
}

AttentionRow attention_row(const AttentionRule& rule, std::int64_t i, std::int64_t queries,
                           std::span<const double> q, std::span<const double> k,
                           std::span<const double> v, std::span<double> out,
                           std::span<double> terms) {
  std::fill(out.begin(), out.end(), 0.0);
  std::fill(terms.begin(), terms.end(), 0.0);
  AttentionRow row;
  const std::vector<Logit> logits = logits_of(rule, i, queries, q, k, row);
  row.lse = log_of_sum(rule, logits);
  for (const Logit& logit : logits) {
    const bool counts = !rule.softmax || !std::isinf(row.lse);
    const double weight = !counts        ? 0
                          : rule.softmax ? std::exp(logit.value - row.lse)
                                         : logit.value;
    const double size = rule.softmax ? std::abs(weight) : std::max(std::abs(weight), 1.0);
    const double* const value = v.data() + static_cast<std::size_t>(logit.key) * out.size();
    for (std::size_t d = 0; d < out.size(); ++d) {
      out[d] += weight * value[d];
      terms[d] += std::abs(size * value[d]);
    }
  }
  return row;
}

}  // namespace kiln::reference
