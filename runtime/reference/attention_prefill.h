// SPDX-License-Identifier: Apache-2.0
// attention_prefill in fp64, from the formula of softmax attention; shares nothing with the
// kernels. Inputs are what the kernel was given, widened: rounding them is the caller's.
#pragma once

#include <cstdint>
#include <span>

namespace kiln::reference {

enum class Mask { none, causal };

// How many of `keys` keys, the first ones, query `i` of `queries` sees. Causal: bottom-right, the
// last query sees the last key.
std::int64_t keys_seen(Mask mask, std::int64_t i, std::int64_t queries, std::int64_t keys);

struct AttentionRow {
  double lse = 0;  // natural logarithm; -infinity where there is no key
  // The largest |scale| sum |q_i k_i| of any key: what the rounding errors of a score are
  // proportional to.
  double score_terms_max = 0;
};

// One query `q` [D_qk] of one head over the keys [n, D_qk] that it sees and their values [n, D_vo],
// where n is k.size() / q.size(). Writes `out` [D_vo], and into `terms` [D_vo] the sums of the
// |weight value|: what the rounding errors of `out` are proportional to. Thread-safe.
AttentionRow attention_row(double scale, std::span<const double> q, std::span<const double> k,
                           std::span<const double> v, std::span<double> out,
                           std::span<double> terms);

}  // namespace kiln::reference
