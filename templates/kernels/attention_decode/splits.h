// SPDX-License-Identifier: Apache-2.0
// How many splits a call is given where the caller leaves it open, and what they need. Host only;
// nothing here depends on what lies in device memory.
#pragma once

namespace kiln {

constexpr int kAttentionDecodeSplitsMax = 1024;

// `blocks`: what there is to do at the same time without splitting. Enough splits to give each
// multiprocessor of a large chip work, as long as a split of the longest possible sequence keeps
// 256 tokens: below that the merge costs more than it brings.
constexpr int attention_decode_splits(long long blocks, long long tokens_max) {
  constexpr long long kBlocksWanted = 512;
  constexpr long long kTokensMin = 256;
  constexpr long long kSplitsMax = 128;
  if (blocks <= 0) return 1;
  long long splits = kBlocksWanted / blocks;
  const long long by_length = (tokens_max + kTokensMin - 1) / kTokensMin;
  if (splits > by_length) splits = by_length;
  if (splits > kSplitsMax) splits = kSplitsMax;
  return splits > 1 ? static_cast<int>(splits) : 1;
}

// Floats of workspace for `rows` output rows (sequences times query heads).
constexpr long long attention_decode_partial_floats(long long rows, int splits, long long d_vo) {
  return splits > 1 ? rows * splits * (d_vo + 1) : 0;
}

}  // namespace kiln
