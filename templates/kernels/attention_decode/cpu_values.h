// SPDX-License-Identifier: Apache-2.0
// How attention_decode on the native CPU adds a step's values to the sums of its rows.
#pragma once

#include "attention_decode/cpu_job.h"
#include "attention_decode/params.h"
#include "kiln/cpu.h"
#include "kiln/shape.h"

namespace kiln {
namespace attention_decode_detail {

// What the values of a step are added to: the tokens `first` to `end` of one head, whose rows stand
// from `base` on and lie so many elements behind those of the job's first head.
struct Part {
  int first, end;
  int base, rows;
  i64 values_offset, keys_offset;
};

// Adds a part's values to the sums of `rows` rows from `row` on, for one block of columns. The
// first rows of a part also ask for the next step's keys, an equal share of them with each block:
// as many requests at once as memory can have under way, never a burst.
template <int rows, bool ahead>
KILN_DEVICE void add_block(Scratch& scratch, const Rows& at, const Rows& next, const Part& part,
                           int row, int block) {
  constexpr int kAhead = ceil_div(shape::D_qk, kLineElements * kColumnBlocks);  // cache lines
  const int column = block * kBlockColumns;
  Floats sums[rows][kColumnVectors];
#pragma clang loop unroll(full)
  for (int h = 0; h < rows; ++h) {
    const Floats factor(part.first == 0 ? scratch.factors[row + h] : 1.0f);
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      sums[h][c] = load(scratch.sums[row + h] + column + c * vector_lanes) * factor;
    }
  }
  for (int t = part.first; t < part.end; ++t) {
    if constexpr (ahead) {
      const Kv* key = next.keys[t] + part.keys_offset + block * kAhead * kLineElements;
      for (int i = 0; i < kAhead; ++i) prefetch_far(key + i * kLineElements);
    }
    const Kv* from = at.values[t] + part.values_offset + column;
    Floats values[kColumnVectors];
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) values[c] = load(from + c * vector_lanes);
#pragma clang loop unroll(full)
    for (int h = 0; h < rows; ++h) {
      const Floats weight(scratch.weights[row + h][t]);
#pragma clang loop unroll(full)
      for (int c = 0; c < kColumnVectors; ++c) sums[h][c] = fma(weight, values[c], sums[h][c]);
    }
  }
#pragma clang loop unroll(full)
  for (int h = 0; h < rows; ++h) {
#pragma clang loop unroll(full)
    for (int c = 0; c < kColumnVectors; ++c) {
      store(scratch.sums[row + h] + column + c * vector_lanes, sums[h][c]);
    }
  }
}

template <int rows>
KILN_DEVICE int add_rows(Scratch& scratch, const Rows& at, const Rows& next, const Part& part,
                         int row, int block) {
  if (row == part.base) {
    add_block<rows, true>(scratch, at, next, part, row, block);
  } else {
    add_block<rows, false>(scratch, at, next, part, row, block);
  }
  return row + rows;
}

KILN_DEVICE void add_part(Scratch& scratch, const Rows& at, const Rows& next, const Part& part) {
  const int end = part.base + part.rows;
  for (int block = 0; block < kColumnBlocks; ++block) {
    int row = part.base;
    while (row + kRowBlock <= end) row = add_rows<kRowBlock>(scratch, at, next, part, row, block);
    while (row + 2 <= end) row = add_rows<2>(scratch, at, next, part, row, block);
    if (row < end) add_rows<1>(scratch, at, next, part, row, block);
  }
}

KILN_DEVICE void add_step(const AttentionDecodeParams& p, Scratch& scratch, const Rows& at,
                          const Rows& next, int heads, int rows) {
  for (int first = 0; first < at.count; first += kPartTokens) {
    for (int i = 0; i < heads; ++i) {
      const Part part{first,
                      min(first + kPartTokens, at.count),
                      i * rows,
                      rows,
                      i * p.v.head_stride,
                      i * p.k.head_stride};
      add_part(scratch, at, next, part);
    }
  }
}

}  // namespace attention_decode_detail
}  // namespace kiln
