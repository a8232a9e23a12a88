// SPDX-License-Identifier: Apache-2.0
// How a warp holds a part of a state matrix: its tile. Launch plans and kernels both ask here.
//
// A group of lanes shares `values` elements of V; each lane has, for every one of them, `keys`
// elements of K. A lane moves 16 bytes at once: along K in layout VK, along V in layout KV.
#pragma once

#if defined(__CUDACC_RTC__)
#define KILN_KDA_BOTH __device__  // NVRTC knows no host functions
#else
#define KILN_KDA_BOTH
#endif

namespace kiln {

struct KdaTile {
  int keys;
  int values;
  int group;  // lanes
  int rows;   // elements of V of the whole warp
};

KILN_KDA_BOTH constexpr KdaTile kda_tile(bool vk, int k_size, int state_bytes, int warp) {
  const int vector = 16 / state_bytes;
  KdaTile tile{};
  if (vk) {  // a row of K is as many lanes as it has vectors, at most a warp
    tile.keys = vector * warp < k_size ? k_size / warp : vector;
    tile.values = 4;
  } else {  // with twice as many, tiles of 256 keys did not fit into registers
    tile.keys = 8;
    tile.values = vector;
  }
  tile.group = k_size / tile.keys;
  tile.rows = warp / tile.group * tile.values;
  return tile;
}

// Threads of a block, on every GPU, and the elements of V that they hold at once.
constexpr int kKdaThreads = 128;
KILN_KDA_BOTH constexpr int kda_block_rows(bool vk, int k_size, int v_size, int state_bytes) {
  const int rows = kKdaThreads / 32 * kda_tile(vk, k_size, state_bytes, 32).rows;
  return rows < v_size ? rows : v_size;
}

// The same where tiles stay in registers from token to token. More than one for each warp: every
// warp computes gate and norms of each token again.
KILN_KDA_BOTH constexpr int kda_token_rows(bool vk, int k_size, int v_size, int state_bytes) {
  const int rows = kda_block_rows(vk, k_size, v_size, state_bytes);
  return vk && rows < 32 ? 32 : rows;
}

}  // namespace kiln
