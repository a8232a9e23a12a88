// SPDX-License-Identifier: Apache-2.0
// A block's queries as operands, held in registers or, where these are short, in shared memory.
#pragma once

#include "attention_decode/matrix_fragments.h"

namespace kiln {
namespace attention_decode_detail {

struct Queries {
  B depth[kHeadTiles][kDepthSteps];
};
// [kHeadTiles, kDepthSteps, warp_size, 2]: the words of each lane, the same in all warps.
using QueryCells = Shared<u32>;

KILN_DEVICE int query_cell(int j, int step) {
  return ((j * kDepthSteps + step) * warp_size + lane()) * 2;
}
KILN_DEVICE B query_of(const Queries& queries, const QueryCells& cells, int j, int step) {
  if constexpr (!kSharedQueries) return queries.depth[j][step];
  const Vec<u32, 2> words = cells.load_vector<2>(query_cell(j, step));
  B b;
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    b.words[w] = matrix_word_of<Run::along_column>(words[w], step * 16 + B::row(w),
                                                   j * kColumns + B::column(w));
  }
  return b;
}
KILN_DEVICE void share_queries(const Queries& queries, const QueryCells& cells) {
  if (!kSharedQueries || warp() != 0) return;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
    for (int i = 0; i < kDepthSteps; ++i) {
      const auto& words = queries.depth[j][i].words;
      cells.store_vector<2>(query_cell(j, i), Vec<u32, 2>{{words[0].bits, words[1].bits}});
    }
  }
}

// What a row of queries is multiplied by to bring its largest element to 2^14, and the inverse.
struct RowScale {
  float scale;
  float inverse;
};
KILN_DEVICE RowScale row_scale(float largest) {
  const u32 exponent = max(bit_cast<u32>(largest) >> 23, u32{15});
  return {bit_cast<float>((268 - exponent) << 23), bit_cast<float>((exponent - 14) << 23)};
}

// Rows beyond the last repeat it: computed in vain and never stored. `inverse`: see RowScale, of
// the heads that the lane has of C.
KILN_DEVICE Queries load_queries(const AttentionDecodeParams& p, const Job& job,
                                 float (&inverse)[kHeadTiles][kOwnHeads]) {
  const Global<const Io> q(static_cast<const Io*>(p.q.data));
  Queries queries;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
    const int row = min(j * kColumns + B::column(0), job.rows - 1);
    const i64 from = job.n * p.q.sequence_stride + job.token_of(row) * p.q.token_stride +
                     job.head_of(row) * p.q.head_stride;
    Io elements[kDepthSteps][4];
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kDepthSteps * 4; ++i) {
      const int column = (i / kPart * kDepthLanes + depth_lane()) * kPart + i % kPart;
      const bool beyond = shape::D_qk % (kDepthLanes * kPart) != 0 && column >= shape::D_qk;
      elements[i / 4][i % 4] = beyond ? Io{0} : q.load(from + column);
      if (kScaleQueries) largest = max(largest, abs(to_float(elements[i / 4][i % 4])));
    }
    RowScale scale = {1.0f, 1.0f};
    if constexpr (kScaleQueries) {
      largest = max(largest, shuffle_xor(largest, warp_size / 32 * 1));
      largest = max(largest, shuffle_xor(largest, warp_size / 32 * 2));
      scale = row_scale(largest);
    }
#pragma unroll
    for (int o = 0; o < kOwnHeads; ++o) {
      inverse[j][o] = kScaleQueries ? shuffle(scale.inverse, C::column(o) * 4) : 1.0f;
    }
#pragma unroll
    for (int i = 0; i < kDepthSteps; ++i) {
#pragma unroll
      for (int w = 0; w < 2; ++w) {
        const Io low = elements[i][2 * w];
        const Io high = elements[i][2 * w + 1];
        u32 bits = low.bits | static_cast<u32>(high.bits) << 16;
        if constexpr (kScaleQueries) {
          bits = pack2<Operand>(to_float(low) * scale.scale, to_float(high) * scale.scale);
        }
        queries.depth[j][i].words[w] = matrix_word_of<Run::along_column>(
            bits, i * 16 + B::row(w), j * kColumns + B::column(w));
      }
    }
  }
  return queries;
}

}  // namespace attention_decode_detail
}  // namespace kiln
