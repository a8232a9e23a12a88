// SPDX-License-Identifier: Apache-2.0
// How a call is cut: how many splits where the caller leaves it open, what they need, and how many
// rows are taken at a time. Nothing here depends on what lies in device memory.
#pragma once

#ifdef KILN_DEVICE
#define KILN_SPLITS_DEVICE KILN_DEVICE
#else
#define KILN_SPLITS_DEVICE
#endif

namespace kiln {

// Of a grid's second dimension.
constexpr int kAttentionDecodeSplitsMax = 65535;
constexpr int kAttentionDecodeSplitStep = 64;  // tokens

// `blocks`: what there is to do at the same time without splitting. Enough splits to give each of
// the 132 multiprocessors of a large chip three blocks and none a fourth, as long as a split of the
// longest possible sequence keeps 128 tokens: below that the merge costs more than it brings.
KILN_SPLITS_DEVICE constexpr int attention_decode_splits(long long blocks, long long tokens_max) {
  constexpr long long kBlocksWanted = 396;
  constexpr long long kTokensMin = 128;
  constexpr long long kSplitsMax = 128;
  if (blocks <= 0) return 1;
  long long splits = kBlocksWanted / blocks;
  const long long by_length = (tokens_max + kTokensMin - 1) / kTokensMin;
  if (splits > by_length) splits = by_length;
  if (splits > kSplitsMax) splits = kSplitsMax;
  return splits > 1 ? static_cast<int>(splits) : 1;
}

// Of the tokens that a sequence may have, those that a window of `window_left` (below 0: none)
// leaves to its last `q_tokens`, and what rounding down to a step adds.
KILN_SPLITS_DEVICE constexpr long long attention_decode_tokens_max(long long tokens,
                                                                   long long q_tokens,
                                                                   long long window_left) {
  if (window_left < 0) return tokens;
  const long long seen = q_tokens + window_left + kAttentionDecodeSplitStep;
  return seen < tokens ? seen : tokens;
}

// Floats of workspace for `rows` output rows (sequences times query tokens times query heads).
KILN_SPLITS_DEVICE constexpr long long attention_decode_partial_floats(long long rows,
                                                                       long long splits,
                                                                       long long d_vo) {
  return splits > 1 ? rows * splits * (d_vo + 1) : 0;
}

// Rows that one work item takes: of `rows`, at most `rows_max`, and in equal parts.
KILN_SPLITS_DEVICE constexpr int attention_decode_tile_rows(int rows, int rows_max) {
  const int tiles = (rows + rows_max - 1) / rows_max;
  return (rows + tiles - 1) / tiles;
}

}  // namespace kiln
