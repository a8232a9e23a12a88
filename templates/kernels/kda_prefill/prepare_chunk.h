// SPDX-License-Identifier: Apache-2.0
// What all values of a head share, of one chunk: its record, by one block.
#pragma once

#include "kda/lanes.h"
#include "kda_prefill/chunk_places.h"
#include "kda_prefill/tile_words.h"
#include "kda_prefill/token_rows.h"
#include "kiln/kernel.h"
#include "kiln/shared.h"

namespace kiln {
namespace kda_prefill_detail {

struct Chunk : TokenRows<kStride> {
  Shared<float> a, b, m;  // [16][16]
};

// Keys of a lane that lie side by side.
KILN_DEVICE Vec<float, kLaneKeys> lane_keys(const Shared<float>& rows, int row) {
  return rows.load_vector<kLaneKeys>(row * kStride + lane() * kLaneKeys);
}

// Column j of A and B, by a warp: k_j decays from token to token on its way to each of them.
KILN_DEVICE void multiply_tokens(int j, const Chunk& chunk) {
  // In parts of eight: the sum of more at once would not stay in registers.
  constexpr int kPart = 8;
  float sums_k[kChunk / kPart][kPart], sums_q[kChunk / kPart][kPart];
  Vec<float, kLaneKeys> k_j = lane_keys(chunk.k, j);
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    float along_k = 0.0f, along_q = 0.0f;
    if (i >= j) {
      const Vec<float, kLaneKeys> decay = lane_keys(chunk.decay, i);
      const Vec<float, kLaneKeys> k_i = lane_keys(chunk.k, i);
      const Vec<float, kLaneKeys> q_i = lane_keys(chunk.q, i);
#pragma unroll
      for (int c = 0; c < kLaneKeys; ++c) {
        if (i > j) k_j[c] *= decay[c];
        along_k = fma(k_j[c], k_i[c], along_k);
        along_q = fma(k_j[c], q_i[c], along_q);
      }
    }
    sums_k[i / kPart][i % kPart] = along_k;
    sums_q[i / kPart][i % kPart] = along_q;
  }
#pragma unroll
  for (int part = 0; part < kChunk / kPart; ++part) {
    const float sum_k = group_sum_scattered<warp_size>(sums_k[part], lane());
    const float sum_q = group_sum_scattered<warp_size>(sums_q[part], lane());
    const int i = part * kPart + lane();
    if (lane() >= kPart) continue;
    chunk.a.store(i * kChunk + j, i > j ? sum_k * chunk.beta.load(i) : 0.0f);
    chunk.b.store(i * kChunk + j, i < j ? 0.0f : sum_q);
  }
}

// Column `column` of M, by one thread: of the inverse of 1 + A, by substitution.
KILN_DEVICE void invert_column(int column, const Chunk& chunk) {
  const float beta = chunk.beta.load(column);
  float x[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    x[i] = i == column ? 1.0f : 0.0f;
#pragma unroll
    for (int j = 0; j < i; ++j) x[i] = fma(-chunk.a.load(i * kChunk + j), x[j], x[i]);
    chunk.m.store(i * kChunk + column, x[i] * beta);
  }
}

// The rows of one key, in place: q_i P_i for q, k_j R_j for the decays. Returns P_15.
KILN_DEVICE float decay_rows(int key, const Chunk& chunk, float (&k_decayed)[kChunk]) {
  float k[kChunk], decays[kChunk];
  float decay = 1.0f;
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const int at = i * kStride + key;
    k[i] = chunk.k.load(at);
    decays[i] = chunk.decay.load(at);
    decay *= decays[i];
    k_decayed[i] = k[i] * decay;
    chunk.q.store(at, chunk.q.load(at) * decay);
  }
  const float whole = decay;
  decay = 1.0f;
#pragma unroll
  for (int i = kChunk - 1; i >= 0; --i) {
    chunk.decay.store(i * kStride + key, k[i] * decay);
    decay *= decays[i];
  }
  return whole;
}

// -w of one key, in place of k.
KILN_DEVICE void solve_key(int key, const Chunk& chunk, const float (&k_decayed)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    float w = 0.0f;
#pragma unroll
    for (int j = 0; j <= i; ++j) w = fma(chunk.m.load(i * kChunk + j), k_decayed[j], w);
    chunk.k.store(i * kStride + key, -w);
  }
}

KILN_DEVICE void store_record(const Chunk& chunk, const Global<u32>& record) {
#pragma unroll 1
  for (int tile = warp(); tile < 3 * kKeyTiles + 2; tile += kWarps) {
    const int key = tile % kKeyTiles * kChunk;
    const Global<u32> to = record.from(tile * kKdaPrefillTileWords);
    if (tile < kKeyTiles) {
      store_tile_words(to, [&](int y, int x) { return chunk.k.load(y * kStride + key + x); });
    } else if (tile < 2 * kKeyTiles) {
      store_tile_words(to, [&](int y, int x) { return chunk.q.load(y * kStride + key + x); });
    } else if (tile < 3 * kKeyTiles) {
      store_tile_words(to, [&](int y, int x) { return chunk.decay.load(x * kStride + key + y); });
    } else if (tile == 3 * kKeyTiles) {
      store_tile_words(to, [&](int y, int x) { return chunk.m.load(y * kChunk + x); });
    } else {
      store_tile_words(to, [&](int y, int x) { return chunk.b.load(y * kChunk + x); });
    }
  }
}

}  // namespace kda_prefill_detail
}  // namespace kiln
