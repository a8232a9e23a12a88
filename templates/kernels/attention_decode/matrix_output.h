// SPDX-License-Identifier: Apache-2.0
// The warps' softmaxes and sums put together through shared memory, and out.
#pragma once

#include "attention_decode/gpu_merge.h"
#include "attention_decode/matrix_softmax.h"
#include "kiln/barrier.h"

namespace kiln {
namespace attention_decode_detail {

// What the warps put together at the end.
struct Memory {
  Shared<float> maxima;  // [kWarps, kHeads]
  Shared<float> totals;  // [kWarps, kHeads]
  Shared<float> shares;  // [kHeads]: what sums are to be multiplied by
  Shared<float> cells;   // [kWarps, kHeads, kPartColumns]: sums of one part
};

KILN_DEVICE void store_softmax(const Memory& memory, Softmax& softmax) {
  const int first_row = warp() * kHeads;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
    for (int o = 0; o < kOwnHeads; ++o) {
      const float total = over_rows(softmax.total[j][o], [](float a, float b) { return a + b; });
      if (C::row(0) != 0) continue;
      const int at = first_row + j * kColumns + C::column(o);
      memory.maxima.store(at, softmax.maximum[j][o]);
      memory.totals.store(at, total);
    }
  }
}
KILN_DEVICE float block_maximum(const Memory& memory, int row) {
  float top = minus_infinity();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) top = max(top, memory.maxima.load(w * kHeads + row));
  return top;
}
// Finishes the softmax of each row.
KILN_DEVICE void finish_rows(const AttentionDecodeParams& p, const Job& job, const Memory& memory) {
  const int row = thread_rank();
  if (row >= job.rows) return;
  const float top = block_maximum(memory, row);
  float total = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float maximum = memory.maxima.load(w * kHeads + row);
    total += memory.totals.load(w * kHeads + row) * fast_exp2(maximum - finite_maximum(top));
  }
  memory.shares.store(row, finish_row(p, job, row, top, total));
}

// The lane's columns of a part, of one of its heads, times `factor`: kPart of them side by side for
// each of its rows of C.
KILN_DEVICE void store_columns(const Memory& memory, const Sums& sums, int warp, int j, int o,
                               int part, float factor) {
  const int row = (warp * kHeads + j * kColumns + C::column(o)) * kPartColumns;
#if KILN_WARP_SIZE == 32
  constexpr int kRuns = 1;
#else
  constexpr int kRuns = kValuesOfC;
#endif
#pragma unroll
  for (int run = 0; run < kRuns; ++run) {
    const int first = row + C::row(run) % kRowLanes * kPart;
#pragma unroll
    for (int e = 0; e < kPart; e += 4) {
      Vec<float, 4> four;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int tile = part * kTilesOfPart + (e + i) / kRowsOfLane;
        const int value = kRuns > 1 ? run : (e + i) % kRowsOfLane * 2 + o;
        four[i] = sums.tiles[j][tile].values[value] * factor;
      }
      memory.cells.store_vector<4>(first + e, four);
    }
  }
}

// Sums of one part from all warps, and out.
KILN_DEVICE void store_part(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            int part) {
#pragma unroll 1
  for (int i = thread_rank(); i < job.rows * kPartColumns; i += kThreads) {
    const int row = i / kPartColumns;
    const int column = part * kPartColumns + i % kPartColumns;
    if (shape::D_vo % kPartColumns != 0 && column >= shape::D_vo) continue;
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += memory.cells.load(w * kHeads * kPartColumns + i);
    store_column(p, output_of(p, job, row), column, sum);
  }
}

KILN_DEVICE void store_rows(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            Softmax& softmax, const Sums& sums) {
  const int own_warp = warp();
  store_softmax(memory, softmax);
  block_barrier();
  finish_rows(p, job, memory);
  block_barrier();
#pragma unroll
  for (int part = 0; part < kValueParts; ++part) {
    if (part > 0) block_barrier();
#pragma unroll
    for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
      for (int o = 0; o < kOwnHeads; ++o) {
        const int row = j * kColumns + C::column(o);
        if (row >= job.rows) continue;
        const float base = finite_maximum(block_maximum(memory, row));
        const float factor = fast_exp2(softmax.maximum[j][o] - base) * memory.shares.load(row);
        store_columns(memory, sums, own_warp, j, o, part, factor);
      }
    }
    block_barrier();
    store_part(p, job, memory, part);
  }
}

}  // namespace attention_decode_detail
}  // namespace kiln
