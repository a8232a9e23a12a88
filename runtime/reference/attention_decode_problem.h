// SPDX-License-Identifier: Apache-2.0
// The random call of an attention_decode trial: its sizes, its tensors, and its variant's rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kiln/attention_decode.h"
#include "runtime/reference/attention_decode.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {

struct AttentionDecodeSizes {
  std::int64_t batch, length, q_tokens, page_size, q_heads, kv_heads, d_qk, d_vo;
  ElementType io, kv;
  bool ragged, v_in_k, softcap, csr, hnd, scaled, alibi, sink;
  std::int64_t splits, split_tokens, window;
  std::string variant;

  static AttentionDecodeSizes of(const OpArguments& arguments);
  std::int64_t pages_max() const { return (length + page_size - 1) / page_size; }
  // One page that no sequence has, so that an empty cache is a tensor too.
  std::int64_t pages() const { return batch * pages_max() + 1; }
  std::int64_t rows() const { return batch * q_tokens * q_heads; }
  bool has_softmax() const { return variant != "sigmoid"; }
};

struct AttentionDecodeTensors {
  TrialTensor q, k, v;  // v: of one element where the keys hold the values
  TrialTensor block_table, seq_lens, indptr, indices, last_page_lens;
  TrialTensor k_scale, v_scale, sinks, alibi_slopes, out, lse;
  std::optional<TrialTensor> workspace;
  std::vector<TrialTensor> variant;  // its tensors; a written one is the last
  std::vector<double> variant_scalars;

  static Result<AttentionDecodeTensors> create(const TrialSite& site,
                                               const AttentionDecodeSizes& sizes);
  // Random contents, and poison in every slot and table entry behind a sequence's end.
  void fill(const AttentionDecodeSizes& sizes, std::uint64_t seed);
  // All but what is written.
  Result<void> upload(Driver& driver);
  // What the shape's variant does, by its definition; of logits_dump also what it is to write.
  reference::AttentionDecodeVariant rule_of(const AttentionDecodeSizes& sizes,
                                            std::vector<double>& logits) const;
};

// For the reference.
reference::PagedCache attention_decode_cache(const TrialTensor& tensor,
                                             const AttentionDecodeSizes& sizes, std::int64_t width);

}  // namespace kiln
