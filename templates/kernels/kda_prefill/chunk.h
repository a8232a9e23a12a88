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

}  // namespace kiln
