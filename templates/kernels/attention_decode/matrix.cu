// SPDX-License-Identifier: Apache-2.0
// attention_decode on matrix instructions: keys and values go from memory straight into the
// registers that these take them from. Products are transposed, keys (or columns of the values) by
// heads, so that up to 8 heads (16 on AMD) fill an instruction and a score comes out in the lane
// that needs it next:
//
//   scores^T [16 tokens, heads] = K [16 tokens, D_qk] Q^T        sums^T [D_vo, heads] += V^T
//   weights^T
//
// A block works on one split of one sequence. Its warps take tiles of 16 tokens in turn, each with
// a softmax of its own, and put their sums together at the end; until then no warp waits for
// another. A warp's next keys and values are under way while it works on its tile.
//
// An instruction sums over its depth and counts its rows in any order that its operands agree on.
// So each lane takes 16 bytes at a time: of keys, elements of the depth; of values, columns.
#include "attention_decode/gpu_job.h"
#include "attention_decode/gpu_merge.h"
#include "attention_decode/matrix_rows.h"
#include "kiln/barrier.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/mma.h"
#include "kiln/permute.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_decode_detail {

constexpr bool kIsFp8 = sizeof(Kv) == 1;
static_assert(sizeof(Io) == 2 && (kIsFp8 || is_same<Io, Kv>), "refused by can_build");
// What is multiplied. f16 holds every fp8.
template <bool is_fp8>
struct OperandOf {
  using type = Io;
};
template <>
struct OperandOf<true> {
  using type = f16;
};
using Operand = OperandOf<kIsFp8>::type;
// A query is brought into the range of f16 where it is multiplied as such.
constexpr bool kScaleQueries = is_same<Io, bf16> && is_same<Operand, f16>;

// A: 16 rows by a depth of 16. B: the depth by kColumns. C: the rows by kColumns, that is heads.
#if KILN_WARP_SIZE == 32
using A = MmaA;
using B = MmaB;
using C = MmaC;
constexpr int kColumns = 8;
constexpr int kWordsOfA = 4;
constexpr int kRowLanes = 8;    // lanes that have rows of their own of A
constexpr int kRowsOfLane = 2;  // of A
constexpr int kOwnHeads = 2;    // of C that a lane has
KILN_DEVICE int row_lane() {
  return lane() / 4;
}
KILN_DEVICE int depth_lane() {
  return lane() % 4;
}
KILN_DEVICE constexpr int own_head(int value) {
  return value % 2;
}
// From the lanes that hold the same columns of C.
template <class Join>
KILN_DEVICE float over_rows(float value, Join join) {
  value = join(value, shuffle_xor(value, 4));
  value = join(value, shuffle_xor(value, 8));
  return join(value, shuffle_xor(value, 16));
}
#else
using A = MfmaA<16>;
using B = MfmaB<16>;
using C = MfmaC<16>;
constexpr int kColumns = 16;
constexpr int kWordsOfA = 2;
constexpr int kRowLanes = 16;
constexpr int kRowsOfLane = 1;
constexpr int kOwnHeads = 1;
KILN_DEVICE int row_lane() {
  return lane() % 16;
}
KILN_DEVICE int depth_lane() {
  return lane() / 16;
}
KILN_DEVICE constexpr int own_head(int) {
  return 0;
}
template <class Join>
KILN_DEVICE float over_rows(float value, Join join) {
  value = join(value, shuffle_xor(value, 16));
  return join(value, shuffle_xor(value, 32));
}
#endif
constexpr int kDepthLanes = 4;
constexpr int kValuesOfC = 4;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kTile = 16;                        // tokens
constexpr int kTilesOfStep = warp_size / kTile;  // each lane looks up one token of a step
constexpr int kRows = attention_decode_matrix_rows(kGroupHeads, shape::D_qk, shape::D_vo);
constexpr int kHeadTiles = ceil_div(kRows, kColumns);
constexpr int kHeads = kHeadTiles * kColumns;

constexpr int kPart = 16 / int{sizeof(Kv)};  // elements of a load
constexpr int kWordsOfPart = 4;
// A part has elements of kPart / 4 depths of 16, one after another, 4 elements of each.
constexpr int kKeyParts = ceil_div(shape::D_qk, kDepthLanes* kPart);
constexpr int kDepthSteps = kKeyParts * kPart / 4;
// Columns of a part of all lanes, and A's with these for rows.
constexpr int kPartColumns = kRowLanes * kPart;
constexpr int kValueParts = ceil_div(shape::D_vo, kPartColumns);
constexpr int kTilesOfPart = kPart / kRowsOfLane;
constexpr int kColumnTiles = kValueParts * kTilesOfPart;
constexpr int kTokensOfLane = 4;  // whose values a lane takes

// Blocks of a multiprocessor: what the registers of queries, sums, a tile of keys and one of values
// leave room for.
constexpr int kRegisters = kHeadTiles * (2 * kDepthSteps + 4 * kColumnTiles) +
                           4 * (kRowsOfLane * kKeyParts + kTokensOfLane * kValueParts);
constexpr int kBlocks = kRegisters <= 72 ? 4 : kRegisters <= 112 ? 3 : 2;
// Where registers do not hold all of that, queries lie in shared memory.
constexpr bool kSharedQueries = kRegisters > 200;

KILN_DEVICE C multiply_add(const A& a, const B& b, const C& c) {
#if KILN_WARP_SIZE == 32
  return mma_m16n8k16<Operand>(a, b, c);
#else
  return mfma_16x16x16(a, b, c);
#endif
}

using Part = Vec<u32, kWordsOfPart>;

// The tokens of a split that a warp works on, in steps of warp_size: of each, every lane knows
// where one token's key and value begin.
struct Cursor {
  int token;  // of the next step
  int slot;
  i64 page;  // under way
  i64 key_row;
  i64 value_row;
};

// Tokens behind the end are the last one once more.
KILN_DEVICE void look_up(const AttentionDecodeParams& p, const Job& job,
                         const Global<const i32>& pages, Cursor& cursor) {
  const u32 token = static_cast<u32>(min(cursor.token, job.tokens.end - 1));
  const u32 number = token / static_cast<u32>(p.page_size);
  cursor.slot = static_cast<int>(token - number * static_cast<u32>(p.page_size));
  cursor.page = pages.load(number);
  cursor.token += kWarps * warp_size;
}
KILN_DEVICE void next_step(const AttentionDecodeParams& p, const Job& job,
                           const Global<const i32>& pages, Cursor& cursor) {
  const auto row = [&](const AttentionDecodeParams::Pages& cache) {
    return cursor.page * cache.page_stride + cursor.slot * cache.token_stride +
           job.kv_head * cache.head_stride;
  };
  cursor.key_row = row(p.k);
  cursor.value_row = row(p.v);
  look_up(p, job, pages, cursor);
}
// A warp has tile warp(), warp() + kWarps...; a step's lanes look up tile by tile of its own.
KILN_DEVICE Cursor begin_cursor(const AttentionDecodeParams& p, const Job& job,
                                const Global<const i32>& pages) {
  const int token = (lane() / kTile * kWarps + warp()) * kTile + lane() % kTile;
  Cursor cursor = {job.tokens.begin + token, 0, 0, 0, 0};
  look_up(p, job, pages, cursor);
  next_step(p, job, pages, cursor);
  return cursor;
}
KILN_DEVICE i64 row_of_token(i64 row, int tile, int token) {
  return shuffle(row, tile % kTilesOfStep * kTile + token);
}

struct Keys {
  Part parts[kRowsOfLane][kKeyParts];
};
struct Values {
  Part parts[kTokensOfLane][kValueParts];
};

// Parts of a row of `size` elements, `span` apart, the first one at `column`; zeros behind the row.
template <int size, int span, int parts>
KILN_DEVICE void load_parts(const Global<const Kv>& cache, i64 row, int column, Part (&to)[parts]) {
  const Global<const Kv> from = cache.from(row + column);
#pragma unroll
  for (int i = 0; i < parts; ++i) {
    const bool beyond = size % span != 0 && i * span + column >= size;
    to[i] = beyond ? Part{} : bit_cast<Part>(from.load_vector<kPart>(i * span));
  }
}

KILN_DEVICE void load_keys(const AttentionDecodeParams& p, const Cursor& cursor, int tile,
                           Keys& keys) {
  const Global<const Kv> cache(static_cast<const Kv*>(p.k.data));
#pragma unroll
  for (int r = 0; r < kRowsOfLane; ++r) {
    load_parts<shape::D_qk, kDepthLanes * kPart>(
        cache, row_of_token(cursor.key_row, tile, A::row(r)), depth_lane() * kPart, keys.parts[r]);
  }
}

// Token t of a lane is the depth of B that its element t is at.
KILN_DEVICE int token_of_lane(int t) {
  return B::row(t / 2) + t % 2;
}
KILN_DEVICE void load_values(const AttentionDecodeParams& p, const Cursor& cursor, int tile,
                             Values& values) {
  const Global<const Kv> cache(static_cast<const Kv*>(p.v.data));
#pragma unroll
  for (int t = 0; t < kTokensOfLane; ++t) {
    load_parts<shape::D_vo, kPartColumns>(cache,
                                          row_of_token(cursor.value_row, tile, token_of_lane(t)),
                                          row_lane() * kPart, values.parts[t]);
  }
}

// Elements 2 i and 2 i + 1 of a part.
KILN_DEVICE u32 two_of_part(const Part& part, int i) {
  if constexpr (kIsFp8) {
    return unpack2_f16<Kv>(part[i / 2] >> i % 2 * 16);
  } else {
    return part[i];
  }
}
// Element i of two parts.
KILN_DEVICE u32 one_of_each(const Part& a, const Part& b, int i) {
  if constexpr (kIsFp8) {
    const u32 low = a[i / 4];
    const u32 high = b[i / 4];
    const u32 four =
        i % 4 < 2 ? permute_bytes<0x5140>(low, high) : permute_bytes<0x7362>(low, high);
    return unpack2_f16<Kv>(four >> i % 2 * 16);
  } else {
    const u32 low = a[i / 2];
    const u32 high = b[i / 2];
    return i % 2 == 0 ? permute_bytes<0x5410>(low, high) : permute_bytes<0x7632>(low, high);
  }
}

// Word w of A for a depth step: row w % kRowsOfLane of the lane, elements from its 4.
KILN_DEVICE A keys_of(const Keys& keys, int step) {
  A a;
#pragma unroll
  for (int w = 0; w < kWordsOfA; ++w) {
    const Part& part = keys.parts[w % kRowsOfLane][step * 4 / kPart];
    const int element = step * 4 % kPart + w / kRowsOfLane * 2;
    a.words[w] =
        matrix_word_of(two_of_part(part, element / 2), A::row(w), step * 16 + A::column(w));
  }
  return a;
}
// A for a tile of columns: row r of the lane is element r, depths are tokens.
KILN_DEVICE A values_of(const Values& values, int tile) {
  A a;
#pragma unroll
  for (int w = 0; w < kWordsOfA; ++w) {
    const int part = tile / kTilesOfPart;
    const int element = tile % kTilesOfPart * kRowsOfLane + w % kRowsOfLane;
    const int token = w / kRowsOfLane * 2;
    a.words[w] = matrix_word_of(
        one_of_each(values.parts[token][part], values.parts[token + 1][part], element),
        tile * 16 + A::row(w), A::column(w));
  }
  return a;
}

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

// Grid: x counts (sequence, key/value head, tile of rows), y the splits. Block: 128 threads.
KILN_KERNEL(128, attention_decode_detail::kBlocks)
attention_decode_matrix(KILN_PARAMS(AttentionDecodeParams) p) {
  using namespace attention_decode_detail;
  KILN_SHARED(float, maxima, kWarps* kHeads);
  KILN_SHARED(float, totals, kWarps* kHeads);
  KILN_SHARED(float, shares, kHeads);
  KILN_SHARED(float, cells, kWarps* kHeads* kPartColumns);
  KILN_SHARED(u32, query_cells, kSharedQueries ? kHeadTiles * kDepthSteps * warp_size * 2 : 4);

  dependency_wait();
  launch_dependents();

  const Job job = find_job(p, kRows);
  if (p.splits > 1 && job.tokens.begin >= job.tokens.end) return;  // the merge does not look here
  const int all_tiles = ceil_div(job.tokens.end - job.tokens.begin, kTile);
  const int tiles = ceil_div(all_tiles - warp(), kWarps);  // of this warp; none or fewer: none
  const Global<const i32> pages = pages_of(p, job);
  Keys keys = {};
  Values values = {};
  Cursor cursor = {};
  if (tiles > 0) {
    cursor = begin_cursor(p, job, pages);
    load_keys(p, cursor, 0, keys);
    load_values(p, cursor, 0, values);
  }
  float inverse[kHeadTiles][kOwnHeads];
  const Queries queries = load_queries(p, job, inverse);
  share_queries(queries, query_cells);
  if (kSharedQueries) block_barrier();
  Softmax softmax = begin_softmax(p, job, inverse);
  Sums sums = {};
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const int first = job.tokens.begin + (tile * kWarps + warp()) * kTile;
    const bool more = tile + 1 < tiles;
    if (kSharedQueries) warp_barrier();  // keeps the compiler from holding all of them in registers
    const Scores scores = score_tile(queries, query_cells, keys, softmax, first);
    if (more) {
      if ((tile + 1) % kTilesOfStep == 0) next_step(p, job, pages, cursor);
      load_keys(p, cursor, tile + 1, keys);
    }
    const Weights weights = weigh_tile(scores, softmax, sums);
    add_values(values, weights, sums);
    if (more) load_values(p, cursor, tile + 1, values);
  }
  store_rows(p, job, Memory{maxima, totals, shares, cells}, softmax, sums);
}

}  // namespace kiln
