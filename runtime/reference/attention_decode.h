// SPDX-License-Identifier: Apache-2.0
// attention_decode in fp64, from its definition: all scores, then the softmax, then the sum; no
// running maximum, no splits. Shares nothing with the kernels. It reads what the kernel was given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/ops/tensor_check.h"

namespace kiln::reference {

// Element [page, slot, head, i] at the sum of index times stride. Strides in elements.
struct PagedCache {
  const void* data = nullptr;
  std::int64_t page_stride = 0;
  std::int64_t slot_stride = 0;
  std::int64_t head_stride = 0;
  std::span<const float> scales{};  // [batch, kv_heads]; empty: 1
};

// What a variant makes of the pairs that see each other. `row`: of [batch, q_tokens, q_heads].
struct AttentionDecodeVariant {
  bool softmax = true;                                           // else the logits are the weights
  std::function<bool(std::int64_t row, std::int64_t key)> sees;  // empty: all
  std::function<double(std::int64_t row, std::int64_t key, double score)>
      logit;                                     // empty: the score
  std::function<double(std::int64_t row)> sink;  // empty: none
};

struct AttentionDecodeCall {
  double scale = 1;
  double softcap = 0;             // 0: none
  std::int64_t window_left = -1;  // below 0: none
  std::int64_t batch = 0;
  std::int64_t q_tokens = 1;
  std::int64_t q_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t d_qk = 0;
  std::int64_t d_vo = 0;
  std::int64_t page_size = 0;
  std::int64_t pages_max = 0;
  ElementType io = ElementType::bf16;
  ElementType kv = ElementType::bf16;
  const void* q = nullptr;  // io [batch, q_tokens, q_heads, d_qk], dense
  PagedCache k;
  PagedCache v;                               // for MLA the same as k
  std::span<const std::int32_t> block_table;  // [batch, pages_max], dense
  std::span<const std::int32_t> seq_lens;     // [batch]
  std::span<const float> sinks{};             // [q_heads]; empty: none
  std::span<const float> alibi_slopes{};      // [q_heads]; empty: none
  // How far, relatively, an implementation's weights may be off before it adds up values, by their
  // rounding to what matrix instructions take: half an ulp right above a power of two, 2^-8 for
  // bf16 and 2^-11 for f16; 0 where they stay fp32.
  double weight_rounding = 0;
  AttentionDecodeVariant variant{};
};

// Everything for rows [batch, q_tokens, q_heads].
struct AttentionDecodeResult {
  ElementType io = ElementType::bf16;
  std::int64_t d_vo = 0;
  std::vector<double> out;  // [rows, d_vo]
  std::vector<double> lse;  // [rows], natural logarithm

  // How large fp32 rounding errors may be, from the arithmetic. With u = 2^-24: a score is a sum of
  // d_qk products, so it is off by about sqrt(d_qk) u times the sum of their magnitudes
  // (`score_terms`, the largest of the row, with its bias), as roundings point either way. A weight
  // e^s is off by as much, relatively; a sum over L weights by sqrt(L) u more. Both are taken four
  // times. A cap is a tanh of 8 u, times the cap; it is taken four times, too.
  std::vector<double> relative_error;  // [rows], of weights and their sums
  std::vector<double> magnitude;       // [rows, d_vo]: sum of weight times |v|
  double weight_rounding = 0;

  // What an output may differ by: one ulp of its type for the rounding of the result, the error of
  // both sums, and the weights' own rounding.
  double out_allowed(std::int64_t row, std::int64_t column) const;
  // What an fp32 lse may differ by: its own rounding and the relative error of the sum.
  double lse_allowed(std::int64_t row) const;
};

// Thread-safe.
AttentionDecodeResult attention_decode(const AttentionDecodeCall& call);

}  // namespace kiln::reference
