// SPDX-License-Identifier: Apache-2.0
// attention_prefill in fp64, from the formula of attention; shares nothing with the kernels. Inputs
// are what the kernel was given, widened: rounding them is the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace kiln::reference {

// What decides about the row of one query.
struct AttentionRule {
  double scale = 1;
  bool causal = false;
  std::int64_t window_left = -1, window_right = -1;  // -1: all
  double softcap = 0;                                // 0: none
  bool softmax = true;         // otherwise the logits themselves are the weights
  std::optional<double> sink;  // a logit without a value
  // Beyond causal and window; empty: every key.
  std::function<bool(std::int64_t key)> sees;
  // What becomes of a logit; empty: nothing.
  std::function<double(std::int64_t key, double logit)> transform;
};

// Whether query `i` of `queries` sees key `j` of `keys`. Query i is aligned with key
// i + keys - queries: the last with the last ("bottom-right").
bool sees(const AttentionRule& rule, std::int64_t i, std::int64_t queries, std::int64_t keys,
          std::int64_t j);

struct AttentionRow {
  double lse = 0;  // natural logarithm, with the sink; -infinity where there is neither
  // The largest |scale| sum |q_i k_i| of any key: what the rounding errors of a score are
  // proportional to.
  double score_terms_max = 0;
  std::int64_t keys_seen = 0;
};

// Query `i` [D_qk] of `queries`, one head, over the keys [n, D_qk] of its sequence and their values
// [n, D_vo], where n is k.size() / q.size(). Writes `out` [D_vo], and into `terms` [D_vo] the sums
// of |weight value|, or without softmax of max(|weight|, 1) |value|: what the rounding errors of
// `out` are proportional to. Thread-safe.
AttentionRow attention_row(const AttentionRule& rule, std::int64_t i, std::int64_t queries,
                           std::span<const double> q, std::span<const double> k,
                           std::span<const double> v, std::span<double> out,
                           std::span<double> terms);

}  // namespace kiln::reference
