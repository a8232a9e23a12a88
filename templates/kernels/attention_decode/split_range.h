// SPDX-License-Identifier: Apache-2.0
// Which tokens each split of a sequence works on: the same on every processor, and dependent on
// nothing but the sequence's own length and what the call says of splits and window, so that a
// result does not change with the company a sequence has in its batch.
#pragma once

#include "attention_decode/params.h"
#include "kiln/base.h"
#include "kiln/shape.h"

namespace kiln {
namespace attention_decode_detail {

// Splits begin at multiples of this many tokens: each but the last then works on whole steps.
constexpr int kSplitStep = 64;

struct TokenRange {
  int begin;
  int end;  // begin where the split has no tokens
};

// `pages`: of the sequence, from indptr; not read without it.
KILN_DEVICE int sequence_length(const AttentionDecodeParams& p, int length, int pages) {
  const i64 length_max = static_cast<i64>(p.pages_max) * p.page_size;
  i64 tokens = length;
  if (p.indptr != nullptr) {
    const i64 last = max(0, min(length, p.page_size));
    tokens = pages > 0 ? (static_cast<i64>(pages) - 1) * p.page_size + last : 0;
  }
  return static_cast<int>(max(i64{0}, min(tokens, length_max)));
}

// The whole sequence, as far as the window of its first query token reaches.
KILN_DEVICE TokenRange visible_range(const AttentionDecodeParams& p, int length) {
  if (p.window_left < 0) return {0, length};
  const i64 first = static_cast<i64>(length) - p.q_tokens - p.window_left;
  return {static_cast<int>(max(i64{0}, first)) / kSplitStep * kSplitStep, length};
}
KILN_DEVICE i64 tokens_of_split(const AttentionDecodeParams& p, const TokenRange& all) {
  if (p.split_tokens > 0) return p.split_tokens;
  return ceil_div(ceil_div(all.end - all.begin, p.splits), kSplitStep) *
         static_cast<i64>(kSplitStep);
}
KILN_DEVICE TokenRange split_range(const AttentionDecodeParams& p, int length, int split) {
  const TokenRange all = visible_range(p, length);
  const i64 tokens = tokens_of_split(p, all);
  const i64 end = all.end;
  const i64 begin = min(all.begin + tokens * split, end);
  return {static_cast<int>(begin), static_cast<int>(min(begin + tokens, end))};
}
// The splits that have tokens; only these leave partial results.
KILN_DEVICE int used_splits(const AttentionDecodeParams& p, int length) {
  const TokenRange all = visible_range(p, length);
  if (all.begin >= all.end) return 0;
  const i64 tokens = tokens_of_split(p, all);
  return static_cast<int>(
      min(static_cast<i64>(p.splits), ceil_div(static_cast<i64>(all.end - all.begin), tokens)));
}

// A row: one query head of one query token of sequence n.
KILN_DEVICE i64 row_number(const AttentionDecodeParams& p, i64 n, int token, int head) {
  return (n * p.q_tokens + token) * shape::Hq + head;
}
// Where partial results lie in the workspace.
KILN_DEVICE i64 partial_row(const AttentionDecodeParams& p, i64 n, int token, int head, int split) {
  return row_number(p, n, token, head) * p.splits + split;
}
KILN_DEVICE i64 partial_rows(const AttentionDecodeParams& p) {
  return static_cast<i64>(p.batch) * p.q_tokens * shape::Hq * p.splits;
}

}  // namespace attention_decode_detail
}  // namespace kiln
