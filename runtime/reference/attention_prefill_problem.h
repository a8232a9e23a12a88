// SPDX-License-Identifier: Apache-2.0
// The random call of an attention_prefill trial: its sizes, its tensors, and the rule of each row.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kiln/attention_prefill.h"
#include "runtime/reference/attention_prefill.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {

struct AttentionPrefillSizes {
  std::int64_t q_heads, kv_heads, d_qk, d_vo;
  bool paged, dense;
  ElementType io;
  std::vector<std::int64_t> q_lengths, kv_lengths;
  std::int64_t q_len, kv_len;      // dense: of each sequence; paged: room, pages_max * page_size
  std::int64_t total_q, total_kv;  // rows of q and k; those of no sequence among them
  std::int64_t page_size, pages_max, pages;
  std::int64_t kv_stride;  // keys of the longest sequence
  std::vector<std::int64_t> mask_offsets;
  std::int64_t mask_bytes = 0;
  std::string variant;
  reference::AttentionRule rule;  // of every row, but for what depends on it

  static AttentionPrefillSizes of(const OpArguments& arguments, Random& random);
  // The row in q of a query, as [tokens, heads, size], and that of a key in k.
  std::int64_t q_row(std::size_t n, std::int64_t i) const;
  std::int64_t sequences() const { return static_cast<std::int64_t>(q_lengths.size()); }
  // Pairs of queries and keys that causal and window let see each other, times head sizes.
  double products() const;
};

struct AttentionPrefillTensors {
  TrialTensor q, k, v, out;
  std::optional<TrialTensor> starts_q, starts_kv, lse, kv_lens, block_table, sinks, mask,
      mask_offsets;
  std::vector<TrialTensor> variant;  // its tensors; a written one is the last
  std::vector<double> variant_scalars;

  static Result<AttentionPrefillTensors> create(const TrialSite& site,
                                                const AttentionPrefillSizes& sizes,
                                                const OpArguments& arguments);
  // Scores of a few units, so that weights differ by powers of ten; NaN in rows of no sequence.
  void fill(const AttentionPrefillSizes& sizes, Random& random);
  Result<void> upload(Driver& driver);
  std::int64_t key_row(const AttentionPrefillSizes& sizes, std::size_t n, std::int64_t j) const;
  // That of query `i` of sequence `n`, head `head`.
  reference::AttentionRule rule_of(const AttentionPrefillSizes& sizes, std::size_t n,
                                   std::int64_t i, std::int64_t head) const;
};

}  // namespace kiln
