// SPDX-License-Identifier: Apache-2.0
// A warp's online softmax over tiles of 16 tokens, with the sums of values that follow its maximum.
#pragma once

#include "attention_decode/matrix_cache.h"
#include "attention_decode/matrix_queries.h"

namespace kiln {
namespace attention_decode_detail {

// Of the heads that a lane has of C.
struct Softmax {
  LogitRow row[kHeadTiles][kOwnHeads];
  float maximum[kHeadTiles][kOwnHeads];  // of the warp's scores so far
  float total[kHeadTiles][kOwnHeads];    // of this lane's weights
};
struct Scores {
  float values[kHeadTiles][kValuesOfC];
};
struct Weights {
  B step[kHeadTiles];
};
struct Sums {
  C tiles[kHeadTiles][kColumnTiles];
};

KILN_DEVICE Softmax begin_softmax(const AttentionDecodeParams& p, const Job& job,
                                  const float (&inverse)[kHeadTiles][kOwnHeads]) {
  Softmax softmax;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
    for (int o = 0; o < kOwnHeads; ++o) {
      LogitRow row = logit_row_of(p, job, min(j * kColumns + C::column(o), job.rows - 1));
      row.scale *= inverse[j][o];
      row.end = min(row.end, job.tokens.end);
      softmax.row[j][o] = row;
      softmax.maximum[j][o] = minus_infinity();
      softmax.total[j][o] = 0.0f;
    }
  }
  return softmax;
}

// `first`: the tile's first token.
KILN_DEVICE Scores score_tile(const Queries& queries, const QueryCells& cells, const Keys& keys,
                              const Softmax& softmax, int first) {
  C products[kHeadTiles][2] = {};  // of every other step, so that one need not wait for the other
#pragma unroll
  for (int i = 0; i < kDepthSteps; ++i) {
    const A a = keys_of(keys, i);
#pragma unroll
    for (int j = 0; j < kHeadTiles; ++j) {
      products[j][i % 2] = multiply_add(a, query_of(queries, cells, j, i), products[j][i % 2]);
    }
  }
  Scores scores;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) {
      const int token = C::row(v);
      const float product = products[j][0].at(v, token, C::column(v)) + products[j][1].values[v];
      scores.values[j][v] = masked_logit(softmax.row[j][own_head(v)], product, first + token);
    }
  }
  return scores;
}

// A score is above the maximum so far: takes sums and totals down to the new one.
KILN_DEVICE void raise_maximum(const Scores& scores, Softmax& softmax, Sums& sums) {
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
    float top[kOwnHeads];
#pragma unroll
    for (int o = 0; o < kOwnHeads; ++o) top[o] = softmax.maximum[j][o];
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) {
      top[own_head(v)] = max(top[own_head(v)], scores.values[j][v]);
    }
    float factors[kOwnHeads];
#pragma unroll
    for (int o = 0; o < kOwnHeads; ++o) {
      top[o] = over_rows(top[o], [](float a, float b) { return max(a, b); });
      factors[o] = fast_exp2(softmax.maximum[j][o] - finite_maximum(top[o]));
      softmax.maximum[j][o] = top[o];
      softmax.total[j][o] *= factors[o];
    }
#pragma unroll
    for (int tile = 0; tile < kColumnTiles; ++tile) {
#pragma unroll
      for (int v = 0; v < kValuesOfC; ++v) sums.tiles[j][tile].values[v] *= factors[own_head(v)];
    }
  }
}

KILN_DEVICE Weights weigh_tile(const Scores& scores, Softmax& softmax, Sums& sums) {
  bool above = false;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) {
      above = above || scores.values[j][v] > softmax.maximum[j][own_head(v)];
    }
  }
  if (any(above)) raise_maximum(scores, softmax, sums);
  Weights weights;
#pragma unroll
  for (int j = 0; j < kHeadTiles; ++j) {
    float weight[kValuesOfC];
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) {
      const int o = own_head(v);
      weight[v] = fast_exp2(scores.values[j][v] - finite_maximum(softmax.maximum[j][o]));
      softmax.total[j][o] += weight[v];
    }
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      u32 bits = pack2<Operand>(weight[2 * w], weight[2 * w + 1]);
#if KILN_WARP_SIZE == 32
      bits = transpose_8x8(bits);  // two heads of a token to two tokens of a head
#endif
      weights.step[j].words[w] =
          matrix_word_of<Run::along_column>(bits, B::row(w), j * kColumns + B::column(w));
    }
  }
  return weights;
}

KILN_DEVICE void add_values(const Values& values, const Weights& weights, Sums& sums) {
#pragma unroll
  for (int tile = 0; tile < kColumnTiles; ++tile) {
    const A a = values_of(values, tile);
#pragma unroll
    for (int j = 0; j < kHeadTiles; ++j) {
      sums.tiles[j][tile] = multiply_add(a, weights.step[j], sums.tiles[j][tile]);
    }
  }
}

}  // namespace attention_decode_detail
}  // namespace kiln
