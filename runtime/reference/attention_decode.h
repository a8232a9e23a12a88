// SPDX-License-Identifier: Apache-2.0
// attention_decode in fp64, from its definition: all scores, then the softmax, then the sum; no
// running maximum, no splits. Shares nothing with the kernels. It reads what the kernel was given.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kiln::reference {

// A bf16 cache: element [page, slot, head, i] at the sum of index times stride. Strides in
// elements.
struct PagedCache {
  const std::uint16_t* data = nullptr;
  std::int64_t page_stride = 0;
  std::int64_t slot_stride = 0;
  std::int64_t head_stride = 0;
};

struct AttentionDecodeCall {
  double scale = 1;
  std::int64_t batch = 0;
  std::int64_t q_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t d_qk = 0;
  std::int64_t d_vo = 0;
  std::int64_t page_size = 0;
  std::int64_t pages_max = 0;
  std::span<const std::uint16_t> q;  // bf16 [batch, q_heads, d_qk], dense
  PagedCache k;
  PagedCache v;                               // for MLA the same as k
  std::span<const std::int32_t> block_table;  // [batch, pages_max], dense
  std::span<const std::int32_t> seq_lens;     // [batch]
};

// Everything for [batch, q_heads] rows.
struct AttentionDecodeResult {
  std::vector<double> out;  // [rows, d_vo]
  std::vector<double> lse;  // [rows], natural logarithm

  // How large fp32 rounding errors may be, from the arithmetic. With u = 2^-24: a score is a sum of
  // d_qk products, so it is off by about sqrt(d_qk) u times the sum of their magnitudes
  // (`score_terms`, the largest of the row), as roundings point either way. A weight e^s is off by
  // as much, relatively; a sum over L weights by sqrt(L) u more. Both are taken four times.
  std::vector<double> relative_error;  // [rows], of weights and their sums
  std::vector<double> magnitude;       // [rows, d_vo]: sum of weight times |v|

  // What a bf16 output may differ by: the rounding of the result and the error of both sums.
  double out_allowed(std::int64_t row, std::int64_t column, std::int64_t d_vo) const;
  // What an fp32 lse may differ by: its own rounding and the relative error of the sum.
  double lse_allowed(std::int64_t row) const;
};

// Thread-safe.
AttentionDecodeResult attention_decode(const AttentionDecodeCall& call);

}  // namespace kiln::reference
