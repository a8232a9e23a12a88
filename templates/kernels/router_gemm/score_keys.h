// SPDX-License-Identifier: Apache-2.0
// Scores as integers of the same order, so that a maximum is one comparison and NaN has a place:
// below every number. Both zeros are one. Key 0 is no score's.
#pragma once

#include "kiln/lanes.h"

namespace kiln {

constexpr u32 kNanScoreKey = 1;

KILN_DEVICE u32 score_key(float score) {
  const u32 bits = bits_of(score);
  const u32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return kNanScoreKey;
  if (magnitude == 0) return 0x80000000u;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

KILN_DEVICE float score_of_key(u32 key) {
  if (key == kNanScoreKey) return from_bits<float>(0x7fc00000u);
  return from_bits<float>((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// The better expert is the larger number: by its key, then the one with the lower index.
KILN_DEVICE u64 ranked_expert(u32 key, int expert) {
  return static_cast<u64>(key) << 32 | ~static_cast<u32>(expert);
}
KILN_DEVICE int expert_of(u64 ranked) {
  return static_cast<int>(~static_cast<u32>(ranked));
}

// The two largest keys of a group.
struct TopTwo {
  u32 first = 0, second = 0;
  KILN_DEVICE void add(u32 key) {
    second = max(second, min(first, key));
    first = max(first, key);
  }
  KILN_DEVICE void merge(TopTwo other) {
    second = max(min(first, other.first), max(second, other.second));
    first = max(first, other.first);
  }
  // What ranks a group: the sum of its two best scores.
  KILN_DEVICE u32 sum_key() const { return score_key(score_of_key(first) + score_of_key(second)); }
};

}  // namespace kiln
