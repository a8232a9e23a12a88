// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_prefill.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace kiln::reference {

std::int64_t keys_seen(Mask mask, std::int64_t i, std::int64_t queries, std::int64_t keys) {
  if (mask == Mask::none) return keys;
  return std::clamp<std::int64_t>(i + keys - queries + 1, 0, keys);
}

AttentionRow attention_row(double scale, std::span<const double> q, std::span<const double> k,
                           std::span<const double> v, std::span<double> out,
                           std::span<double> terms) {
  const std::size_t keys = k.size() / q.size();
  std::fill(out.begin(), out.end(), 0.0);
  std::fill(terms.begin(), terms.end(), 0.0);
  AttentionRow row;
  row.lse = -std::numeric_limits<double>::infinity();
  if (keys == 0) return row;

  std::vector<double> scores(keys);
  for (std::size_t j = 0; j < keys; ++j) {
    double score_terms = 0;
    for (std::size_t i = 0; i < q.size(); ++i) {
      const double term = scale * q[i] * k[j * q.size() + i];
      scores[j] += term;
      score_terms += std::abs(term);
    }
    row.score_terms_max = std::max(row.score_terms_max, score_terms);
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - largest);
  row.lse = largest + std::log(sum);
  for (std::size_t j = 0; j < keys; ++j) {
    const double weight = std::exp(scores[j] - row.lse);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double term = weight * v[j * out.size() + i];
      out[i] += term;
      terms[i] += std::abs(term);
    }
  }
  return row;
}

}  // namespace kiln::reference
