// SPDX-License-Identifier: Apache-2.0
// How the kernel for values in the keys cuts its work; the launch plan and the kernel both ask
// here.
#pragma once

#ifdef KILN_DEVICE
#define KILN_TILES_DEVICE KILN_DEVICE
#else
#define KILN_TILES_DEVICE
#endif

namespace kiln {

// Tiles of 16 rows that a block takes, where `group` query heads share a key/value head.
KILN_TILES_DEVICE constexpr int attention_decode_latent_row_tiles(int group) {
  return group <= 16 ? 1 : 2;
}
// Tokens of a step.
KILN_TILES_DEVICE constexpr int attention_decode_latent_step_tokens(int group, int d_qk) {
  return d_qk <= 264 && attention_decode_latent_row_tiles(group) == 1 ? 32 : 16;
}
// Shared memory of a block, which every GPU has if it is 48 KiB or less: two steps of keys with the
// addresses of their rows, products of each of four parts of the depth, and a float for each row.
KILN_TILES_DEVICE constexpr int attention_decode_latent_bytes(int group, int d_qk) {
  const int tokens = attention_decode_latent_step_tokens(group, d_qk);
  const int rows = 16 * attention_decode_latent_row_tiles(group);
  const int step = tokens * (2 * (d_qk + 8) + 8);
  return 2 * step + 4 * rows * (tokens + 4) * 4 + rows * 4;
}

}  // namespace kiln
