// SPDX-License-Identifier: Apache-2.0
// Which tokens each split of a sequence works on: the same on every processor, and dependent on
// nothing but the sequence's own length and the number of splits, so that a result does not change
// with the company a sequence has in its batch.
#pragma once

#include "attention_decode/params.h"
#include "kiln/base.h"

namespace kiln {
namespace attention_decode_detail {

// Splits begin at multiples of this many tokens: each but the last then works on whole steps.
constexpr int kSplitStep = 64;

struct TokenRange {
  int begin;
  int end;  // begin where the split has no tokens
};

KILN_DEVICE int clamp_length(const AttentionDecodeParams& p, int seq_len) {
  const i64 length_max = static_cast<i64>(p.pages_max) * p.page_size;
  return static_cast<int>(max(i64{0}, min(static_cast<i64>(seq_len), length_max)));
}

KILN_DEVICE TokenRange split_range(int length, int splits, int split) {
  const i64 tokens = ceil_div(ceil_div(length, splits), kSplitStep) * static_cast<i64>(kSplitStep);
  const i64 begin = min(tokens * split, static_cast<i64>(length));
  const i64 end = min(begin + tokens, static_cast<i64>(length));
  return {static_cast<int>(begin), static_cast<int>(end)};
}

// Where partial results lie in the workspace.
KILN_DEVICE i64 partial_row(const AttentionDecodeParams& p, i64 n, int q_heads, int head,
                            int split) {
  return (n * q_heads + head) * p.splits + split;
}
KILN_DEVICE i64 partial_rows(const AttentionDecodeParams& p, int q_heads) {
  return static_cast<i64>(p.batch) * q_heads * p.splits;
}

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}
// What to subtract from scores before 2^x: with nothing but -infinity so far, any finite number
// gives the zeros that -infinity itself would turn into NaN.
KILN_DEVICE float finite_maximum(float maximum) {
  return maximum == minus_infinity() ? 0.0f : maximum;
}

}  // namespace attention_decode_detail
}  // namespace kiln
