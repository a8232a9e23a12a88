// SPDX-License-Identifier: Apache-2.0
// attention_decode on matrix instructions, for bf16 (and f16 on NVIDIA): the query heads that share
// a key/value head are packed into tiles of 16 rows. A block works on one split of one sequence for
// one or two tiles; keys and values of a step come by asynchronous copies while the step before is
// worked on. The warps of a tile share out the depth of the products, exchange their sums through
// shared memory, each turn all of them into weights, and share out the columns of the values.
#include "attention_decode/gpu_job.h"
#include "attention_decode/gpu_merge.h"
#include "attention_decode/latent_tiles.h"
#include "kiln/async_copy.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/matrix_tile.h"
#include "kiln/mma.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

static_assert(shape::v_in_k && is_same<Io, Kv> && sizeof(Io) == 2, "refused by can_build");
constexpr int kRowTiles = attention_decode_latent_row_tiles(kGroupHeads);
constexpr int kRows = 16 * kRowTiles;  // of a block
constexpr int kTile = attention_decode_latent_step_tokens(kGroupHeads, shape::D_qk);
constexpr int kThreads = 128 * kRowTiles;
// Of a multiprocessor: what the registers of queries and sums leave room for.
constexpr int kBlocks = (shape::D_qk + shape::D_vo > 512 ? 3 : 4) / kRowTiles;
constexpr int kSlices = 128 / warp_size;  // warps that share a tile of rows

constexpr int kPart = 8;                     // elements of one copy
constexpr int kKeyStride = shape::D_qk + 8;  // elements from token to token: eight rows then lie in
constexpr int kValueStride = shape::D_vo + 8;  // different banks
constexpr int kScoreStride = kTile + 4;

// A: 16 rows by a depth of 16. B: the depth by kColumns. C: the rows by kColumns.
#if KILN_WARP_SIZE == 32
using A = MmaA;
using B = MmaB;
using C = MmaC;
constexpr int kColumns = 8;
constexpr int kWordsOfA = 4;
constexpr int kValuesOfC = 4;
constexpr int kOwnRows = 2;  // of A that a lane has elements of
#else
using A = MfmaA<16>;
using B = MfmaB<16>;
using C = MfmaC<16>;
constexpr int kColumns = 16;
constexpr int kWordsOfA = 2;
constexpr int kValuesOfC = 4;
constexpr int kOwnRows = 1;
#endif

constexpr int kDepthSteps = shape::D_qk / 16;
constexpr int kOwnDepthSteps = (kDepthSteps + kSlices - 1) / kSlices;
constexpr int kColumnTiles = shape::D_vo / kColumns;
constexpr int kOwnColumnTiles = (kColumnTiles + kSlices - 1) / kSlices;
static_assert(kDepthSteps * 16 == shape::D_qk, "refused by can_build");
static_assert(kColumnTiles * kColumns == shape::D_vo, "refused by can_build");

KILN_DEVICE C multiply_add(const A& a, const B& b, const C& c) {
#if KILN_WARP_SIZE == 32
  return mma_m16n8k16<Io>(a, b, c);
#else
  return mfma_16x16x16(a, b, c);
#endif
}

struct Memory {
  Shared<Kv> keys;         // [2, kTile, kKeyStride]
  Shared<Kv> values;       // [2, kTile, kValueStride]; the keys where these hold the values
  Shared<i64> key_rows;    // [2, kTile]: where the key of each token of the step begins
  Shared<i64> value_rows;  // [2, kTile]
  Shared<float> scores;    // [kSlices, kRows, kScoreStride]: products over a part of the depth
  Shared<float> shares;    // [kRows]: what sums are to be multiplied by at the end
};

KILN_DEVICE int row_tile() {
  return warp() / kSlices;
}
KILN_DEVICE int slice() {
  return warp() % kSlices;
}

// What a warp keeps of its tile of rows.
struct Queries {
  A depth[kOwnDepthSteps];  // of step slice() + i * kSlices
};
struct Softmax {
  LogitRow row[kOwnRows];
  float maximum[kOwnRows];  // of all scores so far, the same in every lane of the row
  float total[kOwnRows];    // of this lane's weights
};
struct Sums {
  C tile[kOwnColumnTiles];  // columns of tile slice() + i * kSlices
};

KILN_DEVICE int row_of_block(int row) {
  return row_tile() * 16 + row;
}

// Rows beyond the last repeat it: computed in vain and never stored.
KILN_DEVICE Queries load_queries(const AttentionDecodeParams& p, const Job& job) {
  const Global<const Io> q(static_cast<const Io*>(p.q.data));
  Queries queries;
#pragma unroll
  for (int i = 0; i < kOwnDepthSteps; ++i) {
    const int step = min(slice() + i * kSlices, kDepthSteps - 1);
#pragma unroll
    for (int w = 0; w < kWordsOfA; ++w) {
      const int row = A::row(w);
      const int own = min(row_of_block(row), job.rows - 1);
      const int column = step * 16 + A::column(w);
      const i64 at = job.n * p.q.sequence_stride + job.token_of(own) * p.q.token_stride +
                     job.head_of(own) * p.q.head_stride + column;
      queries.depth[i].words[w] = matrix_word(matrix_element(q.load(at), row, column),
                                              matrix_element(q.load(at + 1), row, column + 1));
    }
  }
  return queries;
}

KILN_DEVICE Softmax begin_softmax(const AttentionDecodeParams& p, const Job& job) {
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
    softmax.row[i] = logit_row_of(p, job, min(row_of_block(A::row(i)), job.rows - 1));
    softmax.row[i].end = min(softmax.row[i].end, job.tokens.end);
    softmax.maximum[i] = minus_infinity();
    softmax.total[i] = 0.0f;
  }
  return softmax;
}

// One cache's rows of a step; zeros from token `count` on.
template <int width, int stride>
KILN_DEVICE void copy_rows(const AttentionDecodeParams::Pages& cache, const Shared<Kv>& cells,
                           const Shared<i64>& rows, int count, int buffer) {
  constexpr int kParts = width / kPart;
  const Global<const Kv> data(static_cast<const Kv*>(cache.data));
  for (int i = thread_rank(); i < kTile * kParts; i += kThreads) {
    const int token = i / kParts;
    const int column = i % kParts * kPart;
    const i64 row = rows.load(buffer * kTile + min(token, count - 1));
    async_copy<kPart>(cells, (buffer * kTile + token) * stride + column, data, row + column,
                      token < count);
  }
}

KILN_DEVICE void copy_step(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                           int first, int buffer) {
  const int count = min(kTile, job.tokens.end - first);
  if (count > 0) {
    copy_rows<shape::D_qk, kKeyStride>(p.k, memory.keys, memory.key_rows, count, buffer);
    if constexpr (!shape::v_in_k) {
      copy_rows<shape::D_vo, kValueStride>(p.v, memory.values, memory.value_rows, count, buffer);
    }
  }
  async_commit();
}

// Depth from `depth` on of the keys from `token` on.
KILN_DEVICE B load_keys(const Memory& memory, int depth, int token) {
  const auto keys = MatrixTile<Kv, RowMajor>(memory.keys, RowMajor{kKeyStride}).transposed();
  B b;
#if KILN_WARP_SIZE == 32
  load_matrix<2>(b.words, keys, depth + lane() / 8 % 2 * 8, token + lane() % 8);
#else
  keys.load<2>(b.words, depth + B::row(0), token + B::column(0));
#endif
  return b;
}

// Columns from `column` on of the values from `token` on.
KILN_DEVICE B load_values(const Memory& memory, int token, int column) {
  constexpr int kStride = shape::v_in_k ? kKeyStride : kValueStride;
  const MatrixTile<Kv, RowMajor> values(memory.values, RowMajor{kStride});
  B b;
#if KILN_WARP_SIZE == 32
  load_matrix<2, Transpose::yes>(b.words, values, token + lane() % 16, column);
#else
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    const int row = token + B::row(w);
    b.words[w] = matrix_word(values.element(row, column + B::column(w)),
                             values.element(row + 1, column + B::column(w)));
  }
#endif
  return b;
}

// This warp's part of the products of its rows and the step's keys.
KILN_DEVICE void score_step(const Memory& memory, const Queries& queries, int buffer) {
#pragma unroll
  for (int first = 0; first < kTile; first += kColumns) {
    C products = {};
#pragma unroll
    for (int i = 0; i < kOwnDepthSteps; ++i) {
      const int step = slice() + i * kSlices;
      if (kDepthSteps % kSlices != 0 && step >= kDepthSteps) break;
      products = multiply_add(queries.depth[i],
                              load_keys(memory, step * 16, buffer * kTile + first), products);
    }
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) {
      const int row = C::row(v);
      const int column = C::column(v);
      memory.scores.store((slice() * kRows + row_of_block(row)) * kScoreStride + first + column,
                          products.at(v, row, column));
    }
  }
}

// The lanes that hold the same row of A.
template <class Join>
KILN_DEVICE float over_row(float value, Join join) {
#if KILN_WARP_SIZE == 32
  value = join(value, shuffle_xor(value, 1));
  return join(value, shuffle_xor(value, 2));
#else
  value = join(value, shuffle_xor(value, 16));
  return join(value, shuffle_xor(value, 32));
#endif
}

// The step's weights as A takes them, and what the old sums are to be multiplied by.
struct Weights {
  A step[kTile / 16];
  float factor[kOwnRows];
};

KILN_DEVICE float product_at(const Memory& memory, int row, int token) {
  float sum = 0.0f;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) {
    sum += memory.scores.load((s * kRows + row_of_block(row)) * kScoreStride + token);
  }
  return sum;
}

// `first`: the step's first token.
KILN_DEVICE Weights weigh_step(const Memory& memory, Softmax& softmax, int first) {
  float scores[kTile / 16][kWordsOfA][2];
  float top[kOwnRows];
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) top[i] = minus_infinity();
#pragma unroll
  for (int s = 0; s < kTile / 16; ++s) {
#pragma unroll
    for (int w = 0; w < kWordsOfA; ++w) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int token = s * 16 + A::column(w) + e;
        scores[s][w][e] = masked_logit(softmax.row[w % kOwnRows],
                                       product_at(memory, A::row(w), token), first + token);
        top[w % kOwnRows] = max(top[w % kOwnRows], scores[s][w][e]);
      }
    }
  }
  Weights weights;
  float base[kOwnRows];
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
    top[i] = over_row(top[i], [](float a, float b) { return max(a, b); });
    top[i] = max(softmax.maximum[i], top[i]);
    base[i] = finite_maximum(top[i]);
    weights.factor[i] = fast_exp2(softmax.maximum[i] - base[i]);
    softmax.maximum[i] = top[i];
    softmax.total[i] *= weights.factor[i];
  }
#pragma unroll
  for (int s = 0; s < kTile / 16; ++s) {
#pragma unroll
    for (int w = 0; w < kWordsOfA; ++w) {
      const int i = w % kOwnRows;
      const float low = fast_exp2(scores[s][w][0] - base[i]);
      const float high = fast_exp2(scores[s][w][1] - base[i]);
      softmax.total[i] += low + high;
      weights.step[s].words[w] = matrix_word<Io>(low, high, A::row(w), s * 16 + A::column(w));
    }
  }
  return weights;
}

// Of the rows of A that this lane has, to value v of C.
KILN_DEVICE float of_value(const float (&own)[kOwnRows], int v) {
#if KILN_WARP_SIZE == 32
  return v < 2 ? own[0] : own[1];
#else
  return shuffle(own[0], C::row(v));
#endif
}

KILN_DEVICE void add_values(const Memory& memory, const Weights& weights, Sums& sums, int buffer) {
  float factors[kValuesOfC];
#pragma unroll
  for (int v = 0; v < kValuesOfC; ++v) factors[v] = of_value(weights.factor, v);
#pragma unroll
  for (int i = 0; i < kOwnColumnTiles; ++i) {
    const int tile = slice() + i * kSlices;
    if (kColumnTiles % kSlices != 0 && tile >= kColumnTiles) break;
#pragma unroll
    for (int v = 0; v < kValuesOfC; ++v) sums.tile[i].values[v] *= factors[v];
#pragma unroll
    for (int s = 0; s < kTile / 16; ++s) {
      sums.tile[i] =
          multiply_add(weights.step[s],
                       load_values(memory, buffer * kTile + s * 16, tile * kColumns), sums.tile[i]);
    }
  }
}

// Finishes the softmax of each row; tells the other warps what to multiply their sums by.
KILN_DEVICE void finish_softmax(const AttentionDecodeParams& p, const Job& job,
                                const Memory& memory, const Softmax& softmax) {
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
    const float total = over_row(softmax.total[i], [](float a, float b) { return a + b; });
    const int row = row_of_block(A::row(i));
    if (slice() != 0 || A::column(0) != 0 || row >= job.rows) continue;
    memory.shares.store(row, finish_row(p, job, row, softmax.maximum[i], total));
  }
}

KILN_DEVICE void store_rows(const AttentionDecodeParams& p, const Job& job, const Memory& memory,
                            Sums& sums) {
#pragma unroll
  for (int v = 0; v < kValuesOfC; ++v) {
    const int row = row_of_block(C::row(v));
    if (row >= job.rows) continue;
    const float share = memory.shares.load(row);
    const RowOutput to = output_of(p, job, row);
#pragma unroll
    for (int i = 0; i < kOwnColumnTiles; ++i) {
      const int tile = slice() + i * kSlices;
      if (kColumnTiles % kSlices != 0 && tile >= kColumnTiles) break;
      const float sum = sums.tile[i].at(v, C::row(v), C::column(v));
      store_column(p, to, tile * kColumns + C::column(v), sum * share);
    }
  }
}

}  // namespace attention_decode_detail

// Grid: x counts (sequence, key/value head, tile of rows), y the splits. Block: 128 threads for
// each 16 rows.
KILN_KERNEL(attention_decode_detail::kThreads, attention_decode_detail::kBlocks)
attention_decode_latent(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(Kv, keys, 2 * kTile * kKeyStride);
  KILN_SHARED(Kv, value_cells, shape::v_in_k ? 8 : 2 * kTile * kValueStride);
  KILN_SHARED(i64, key_rows, 2 * kTile);
  KILN_SHARED(i64, value_rows, 2 * kTile);
  KILN_SHARED(float, scores, kSlices* kRows* kScoreStride);
  KILN_SHARED(float, shares, kRows);
  const Memory memory{keys,  shape::v_in_k ? keys : value_cells, key_rows, value_rows, scores,
                      shares};

  dependency_wait();
  launch_dependents();

  const Job job = find_job(p, kRows);
  if (p.splits > 1 && job.tokens.begin >= job.tokens.end) return;  // the merge does not look here
  const Global<const i32> pages = pages_of(p, job);
  find_rows(p, job, pages, key_rows, value_rows, 0, job.tokens.begin, kTile);
  block_barrier();
  copy_step(p, job, memory, job.tokens.begin, 0);
  find_rows(p, job, pages, key_rows, value_rows, kTile, job.tokens.begin + kTile, kTile);
  const Queries queries = load_queries(p, job);
  Softmax softmax = begin_softmax(p, job);
  Sums sums = {};
  int buffer = 0;
  for (int first = job.tokens.begin; first < job.tokens.end; first += kTile) {
    async_wait<0>();
    block_barrier();
    copy_step(p, job, memory, first + kTile, buffer ^ 1);
    find_rows(p, job, pages, key_rows, value_rows, buffer * kTile, first + 2 * kTile, kTile);
    score_step(memory, queries, buffer);
    block_barrier();
    const Weights weights = weigh_step(memory, softmax, first);
    add_values(memory, weights, sums, buffer);
    buffer ^= 1;
  }
  finish_softmax(p, job, memory, softmax);
  block_barrier();
  store_rows(p, job, memory, sums);
}

}  // namespace kiln
