// SPDX-License-Identifier: Apache-2.0
// How the chunked implementations of kda_prefill cut their work. Launch plans and kernels both ask
// here.
#pragma once

#include "kda/tile.h"

namespace kiln {

// Tokens of a chunk: rows of one matrix instruction, and few enough that the products among its
// tokens stay small beside those with the state.
constexpr int kKdaPrefillChunk = 16;

// Parts of the values of a state that the native CPU may give to as many cores.
constexpr int kKdaPrefillSlices = 4;

// Values of a state that a block of a GPU takes through its sequence.
constexpr int kKdaPrefillValues = 64;

// Elements behind a row of K keys, and from row to row of 16 tokens: lanes that read rows side by
// side then meet in no bank.
constexpr int kKdaPrefillRowPadding = 8;
constexpr int kKdaPrefillTokenStride = 24;

// Where the arrays of a GPU's chunk begin in dynamic shared memory (bytes), and the elements of
// those that are split into high and low halves.
struct KdaPrefillShared {
  int k, q, decay, whole, a, beta;
  int rows[2], ends[2], inverse[2], b[2];
  int rows_count, ends_count, square_count;
  int total;
};

KILN_KDA_BOTH constexpr KdaPrefillShared kda_prefill_shared(int k_size) {
  KdaPrefillShared at{};
  const int row_bytes = kKdaPrefillChunk * k_size * 4;
  at.q = row_bytes;
  at.decay = 2 * row_bytes;
  at.whole = 3 * row_bytes;
  at.a = at.whole + k_size * 4;
  at.beta = at.a + kKdaPrefillChunk * kKdaPrefillChunk * 4;
  at.rows_count = 2 * kKdaPrefillChunk * (k_size + kKdaPrefillRowPadding);
  at.ends_count = k_size * kKdaPrefillTokenStride;
  at.square_count = kKdaPrefillChunk * kKdaPrefillTokenStride;
  int end = at.beta + kKdaPrefillChunk * 4;
  for (int half = 0; half < 2; ++half) {
    at.rows[half] = end;
    at.ends[half] = at.rows[half] + 2 * at.rows_count;
    at.inverse[half] = at.ends[half] + 2 * at.ends_count;
    at.b[half] = at.inverse[half] + 2 * at.square_count;
    end = at.b[half] + 2 * at.square_count;
  }
  at.total = end;
  return at;
}

// Where chunk_parallel keeps what it has prepared of a chunk and value head: matrices of 16 x 16 in
// high and low halves, 256 words each, then a float for each key.
constexpr int kKdaPrefillTileWords = 256;

struct KdaPrefillRecord {
  int minus_w;  // tile by 16 keys: -M (k_i P_i)
  int q;        // tile by 16 keys: q_i P_i
  int ends;     // tile by 16 keys: k_j R_j
  int m, b;     // tiles: M = (1 + A)^-1 diag(beta), B
  int whole;    // [K]: P_15
  int words;    // in all
};

KILN_KDA_BOTH constexpr KdaPrefillRecord kda_prefill_record(int k_size) {
  const int rows = k_size / kKdaPrefillChunk * kKdaPrefillTileWords;
  KdaPrefillRecord at{};
  at.q = rows;
  at.ends = 2 * rows;
  at.m = 3 * rows;
  at.b = at.m + kKdaPrefillTileWords;
  at.whole = at.b + kKdaPrefillTileWords;
  at.words = at.whole + k_size;
  return at;
}

// Values of a state that a block of chunk_parallel takes through the chunks: few, so that a single
// sequence of 32 heads has blocks for a large chip.
constexpr int kKdaPrefillScanValues = 32;

// Floats by which lanes of a warp hand sums to the warp that has the other half of the keys.
constexpr int kKdaPrefillExchange = 12;

// Dynamic shared memory of the scan: two records, and what its warps exchange.
KILN_KDA_BOTH constexpr int kda_prefill_scan_shared(int k_size) {
  return 2 * 4 * kda_prefill_record(k_size).words + 4 * kKdaPrefillExchange * kKdaThreads;
}

}  // namespace kiln
