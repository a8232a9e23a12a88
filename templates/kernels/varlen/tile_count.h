// SPDX-License-Identifier: Apache-2.0
// How many tiles a launch has for sequences packed one after another, when the host knows their
// number and the tokens of all together, and only the device knows where each begins.
#pragma once

namespace kiln {

// Tile t of sequence n, which begins at token `first`, has the number first / rows + n + t: a
// sequence of L tokens has at least L / rows + 1 numbers before the next one's begin, which is
// enough for its tiles. A number whose tile begins beyond its sequence has nothing to do.
constexpr long long varlen_tile_count(long long total, long long batch, long long rows) {
  return batch == 0 ? 0 : total / rows + batch;
}

}  // namespace kiln
