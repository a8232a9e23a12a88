// SPDX-License-Identifier: Apache-2.0
// Shuffles, votes and reductions among the lanes of a warp, or of each aligned group of `width`
// lanes in it (a power of two). All lanes of `mask` take part; values have 4 or 8 bytes.
#pragma once

#include "kiln/barrier.h"

namespace kiln {
namespace warp_detail {
template <class T, class Shuffle>
KILN_DEVICE T by_words(T value, Shuffle shuffle) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffled values have 4 or 8 bytes");
  if constexpr (sizeof(T) == 4) {
    return bit_cast<T>(shuffle(bit_cast<u32>(value)));
  } else {
    const u64 bits = bit_cast<u64>(value);
    const u64 low = shuffle(static_cast<u32>(bits));
    const u64 high = shuffle(static_cast<u32>(bits >> 32));
    return bit_cast<T>(low | high << 32);
  }
}
}  // namespace warp_detail

// The value of lane (own ^ lane_mask); of its own where that is beyond the group.
template <class T>
KILN_DEVICE T shuffle_xor(T value, int lane_mask, int width = warp_size, LaneMask mask = all_lanes,
                          Site = {}) {
  return warp_detail::by_words(
      value, [=](u32 word) { return dialect::shuffle_xor(mask, word, lane_mask, width); });
}
// The value of lane (own + delta); of its own where that is beyond the group.
template <class T>
KILN_DEVICE T shuffle_down(T value, int delta, int width = warp_size, LaneMask mask = all_lanes,
                           Site = {}) {
  return warp_detail::by_words(
      value, [=](u32 word) { return dialect::shuffle_down(mask, word, delta, width); });
}
// The value of lane `source`, counted within the group.
template <class T>
KILN_DEVICE T shuffle(T value, int source, int width = warp_size, LaneMask mask = all_lanes,
                      Site = {}) {
  return warp_detail::by_words(
      value, [=](u32 word) { return dialect::shuffle_idx(mask, word, source, width); });
}

// One bit for each lane whose vote is true.
KILN_DEVICE LaneMask ballot(bool vote, LaneMask mask = all_lanes, Site = {}) {
  return dialect::ballot(mask, vote);
}
KILN_DEVICE bool any(bool vote, LaneMask mask = all_lanes, Site site = {}) {
  return ballot(vote, mask, site) != 0;
}
KILN_DEVICE bool all(bool vote, LaneMask mask = all_lanes, Site site = {}) {
  return ballot(vote, mask, site) == mask;
}

// The sum over the group, in every lane of it.
template <int width = warp_size, class T>
KILN_DEVICE T group_sum(T value, Site site = {}) {
#pragma unroll
  for (int step = width / 2; step > 0; step /= 2) {
    value += shuffle_xor(value, step, width, all_lanes, site);
  }
  return value;
}
template <int width = warp_size, class T>
KILN_DEVICE T group_max(T value, Site site = {}) {
#pragma unroll
  for (int step = width / 2; step > 0; step /= 2) {
    value = max(value, shuffle_xor(value, step, width, all_lanes, site));
  }
  return value;
}

// `count` sums over the group at once (a power of two up to `width`): lane l gets the sum of
// values[l % count]. Each step halves the values still held, so it takes count - 1 shuffles and
// log2(width / count) more, where count butterflies would take count * log2(width).
template <int width, class T, int count>
KILN_DEVICE T group_sum_scattered(T (&values)[count], int lane_in_group, Site site = {}) {
  static_assert((count & (count - 1)) == 0 && count <= width, "a power of two up to the width");
#pragma unroll
  for (int half = count / 2; half > 0; half /= 2) {
    const bool upper = (lane_in_group & half) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      // Loaded before they are chosen among: a choice between addresses puts the array on the
      // stack.
      const T high = values[i + half];
      const T low = values[i];
      const T keep = upper ? high : low;
      const T give = upper ? low : high;
      values[i] = keep + shuffle_xor(give, half, width, all_lanes, site);
    }
  }
  T sum = values[0];
#pragma unroll
  for (int step = count; step < width; step *= 2) {
    sum += shuffle_xor(sum, step, width, all_lanes, site);
  }
  return sum;
}

}  // namespace kiln
