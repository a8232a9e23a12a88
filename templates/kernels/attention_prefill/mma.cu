// SPDX-License-Identifier: Apache-2.0
// attention_prefill on the tensor cores by mma.sync (sm_80 on). A block of four warps has 64
// queries of one head, 16 of each warp, as fragments in registers, and goes over the keys, a tile
// at a time: scores = Q K^T, online softmax in registers, out += weights V, where the weights go
// from the layout of a result to that of an operand without leaving their lane. cp.async brings
// values while scores are computed, and the next keys while values are added.
//
// The weights are rounded to the io type before they meet the values; sums are fp32.
#include "kiln/base.h"  // whose KILN_DEVICE marks the functions of tiles.h

#include "attention_prefill/geometry.h"
#include "attention_prefill/tiles.h"
#include "kiln/async_copy.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
#include "kiln/mma.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "kiln/warp.h"

namespace kiln {
namespace attention_prefill_detail {

template <class T>
using DeviceMemory = Global<const T>;

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

constexpr int kThreads = 128;
constexpr int kRows = kAttentionPrefillMmaRows;
constexpr int kKeys = attention_prefill_mma_keys(shape::D_qk, shape::D_vo);
constexpr int kChunk = 8;                                 // elements of a copy: 128 bits
constexpr int kDepth = ceil_div(shape::D_qk, 16) * 16;    // rest: zeros
constexpr int kColumns = ceil_div(shape::D_vo, 16) * 16;  // rest: zeros
// Eight rows of 16 bytes, as ldmatrix takes them, lie in different banks.
constexpr int kStrideQk = kDepth + kChunk;
constexpr int kStrideVo = kColumns + kChunk;
constexpr int kKeyTiles = kKeys / 8;  // results of Q K^T of a warp
constexpr int kColumnTiles = kColumns / 8;
constexpr int kSteps = kDepth / 16;
constexpr int kCells = max(kRows * kStrideQk, kKeys*(kStrideQk + kStrideVo));
static_assert(kCells * 2 <= 48 * 1024, "what every GPU gives without asking");

// A matrix that begins at `base` of the block's cells.
struct Placed {
  int base;
  int stride;
  static constexpr Run run = Run::along_row;
  KILN_DEVICE int operator()(int row, int column) const { return base + row * stride + column; }
};
using Matrix = MatrixTile<Io, Placed>;

// Queries lie where keys and values lie later.
struct Tiles {
  Shared<Io> cells;
  KILN_DEVICE Matrix q() const { return {cells, Placed{0, kStrideQk}}; }
  KILN_DEVICE Matrix k() const { return {cells, Placed{0, kStrideQk}}; }
  KILN_DEVICE Matrix v() const { return {cells, Placed{kKeys * kStrideQk, kStrideVo}}; }
};

// Rows of `size` elements of a head into a matrix, row i from place(i), an offset or, where there
// is nothing, a negative number; zeros there, behind `rows` and behind a row's end.
template <int tile_rows, int tile_columns, int size, class PlaceOf>
KILN_DEVICE void copy_rows(const Matrix& to, const void* data, int rows, PlaceOf place) {
  constexpr int chunks = tile_columns / kChunk;
  const Global<const Io> from(static_cast<const Io*>(data));
#pragma unroll 2
  for (int i = thread_rank(); i < tile_rows * chunks; i += kThreads) {
    const int row = i / chunks;
    const int column = i % chunks * kChunk;
    i64 offset = -1;
    if (row < rows && column < size) offset = place(row);
    if (offset >= 0) {
      async_copy<kChunk>(to.cells(), to.offset(row, column), from, offset + column);
    } else {
      to.cells().template store_vector<kChunk>(to.offset(row, column), Vec<Io, kChunk>{});
    }
  }
}

// The lane's two rows of the warp's 16.
struct Softmax {
  float maximum[2];  // of the logits, times log2 e; the same in the four lanes of a row
  float sum[2];      // of the weights of this lane's keys
};

struct Scores {
  MmaC tiles[kKeyTiles];
};

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}
KILN_DEVICE int row_of(int first_row, int half) {
  return first_row + warp() * 16 + lane() / 4 + half * 8;
}

KILN_DEVICE void load_queries(const Tiles& tiles, MmaA (&q)[kSteps]) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    load_matrix<4>(q[step].words, tiles.q(), warp() * 16 + lane() % 16,
                   step * 16 + lane() / 16 * 8);
  }
}

KILN_DEVICE Scores multiply_keys(const Tiles& tiles, const MmaA (&q)[kSteps]) {
  Scores scores = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int pair = 0; pair < kKeyTiles / 2; ++pair) {
      MatrixWord words[4];
      load_matrix<4>(words, tiles.k().transposed(), step * 16 + lane() / 8 % 2 * 8,
                     pair * 16 + lane() / 16 * 8 + lane() % 8);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        MmaC& tile = scores.tiles[2 * pair + half];
        tile = mma_m16n8k16<Io>(q[step], MmaB{{words[2 * half], words[2 * half + 1]}}, tile);
      }
    }
  }
  return scores;
}

// Scores to logits, times log2 e with softmax; what a row does not see -infinity, or 0 without.
KILN_DEVICE void apply_rules_to_tile(const Params& p, const Job& job, int first_row, int first_key,
                                     int head, Scores& scores) {
  const bool rules = has_rules(p);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row_of(first_row, half);
    const KeyRange range = job.visible(p, row);
    const bool is_row = row < job.queries;
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        const int key = first_key + tile * 8 + MmaC::column(i);
        float score = scores.tiles[tile].values[i] * p.scale;
        bool seen = is_row && range.first <= key && key < range.end;
        if (rules && seen) seen = apply_rules<DeviceMemory>(p, job, row, key, head, score);
        const float logit = variant::softmax ? score * kLog2E : score;
        scores.tiles[tile].values[i] = seen ? logit : variant::softmax ? minus_infinity() : 0.0f;
      }
    }
  }
}

// Where every row sees every key and no rule applies.
KILN_DEVICE void scale_tile(const Params& p, Scores& scores) {
  const float scale_log2 = p.scale * kLog2E;
#pragma unroll
  for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores.tiles[tile].values[i] *= scale_log2;
  }
}

// Logits to weights; rescales what was accumulated under a smaller maximum.
KILN_DEVICE void weigh(Scores& scores, Softmax& softmax, MmaC (&out)[kColumnTiles]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = softmax.maximum[half];
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
      const float* const values = scores.tiles[tile].values + 2 * half;
      maximum = fast_max(maximum, fast_max(values[0], values[1]));
    }
    maximum = group_max<4>(maximum);
    // While a row has seen no key, infinity less infinity would be no number.
    const float reference = maximum == minus_infinity() ? 0.0f : maximum;
    const float rescale = fast_exp2(softmax.maximum[half] - reference);
    softmax.maximum[half] = maximum;
    float sum = softmax.sum[half] * rescale;
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
      float* const values = scores.tiles[tile].values + 2 * half;
      values[0] = fast_exp2(values[0] - reference);
      values[1] = fast_exp2(values[1] - reference);
      sum += values[0] + values[1];
    }
    softmax.sum[half] = sum;
#pragma unroll
    for (int tile = 0; tile < kColumnTiles; ++tile) {
      out[tile].values[2 * half] *= rescale;
      out[tile].values[2 * half + 1] *= rescale;
    }
  }
}

// A result of Q K^T as the operand of the other product: 16 keys are two results.
KILN_DEVICE MmaA weights_of(const Scores& scores, int step) {
  MmaA a;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float* const values = scores.tiles[2 * step + i / 2].values + i % 2 * 2;
    a.words[i] = matrix_word<Io>(values[0], values[1], MmaA::row(i), step * 16 + MmaA::column(i));
  }
  return a;
}

KILN_DEVICE void add_values(const Tiles& tiles, const Scores& weights, MmaC (&out)[kColumnTiles]) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const MmaA a = weights_of(weights, step);
#pragma unroll
    for (int pair = 0; pair < kColumnTiles / 2; ++pair) {
      MatrixWord words[4];
      load_matrix<4, Transpose::yes>(words, tiles.v(), step * 16 + lane() / 8 % 2 * 8 + lane() % 8,
                                     pair * 16 + lane() / 16 * 8);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        MmaC& tile = out[2 * pair + half];
        tile = mma_m16n8k16<Io>(a, MmaB{{words[2 * half], words[2 * half + 1]}}, tile);
      }
    }
  }
}

// With the sink of each row as its first key, which has no value: in one lane's sum.
KILN_DEVICE Softmax no_keys_yet(const Params& p, const Job& job, int first_row, int head) {
  Softmax softmax;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.maximum[half] = minus_infinity();
    softmax.sum[half] = 0.0f;
    if (!variant::softmax || (p.sinks == nullptr && !variant::has_sink)) continue;
    const int row = min(row_of(first_row, half), job.queries - 1);
    softmax.maximum[half] = first_logit<DeviceMemory>(p, job, row, head) * kLog2E;
    if (lane() % 4 == 0 && softmax.maximum[half] != minus_infinity()) softmax.sum[half] = 1.0f;
  }
  return softmax;
}

KILN_DEVICE void write_rows(const Params& p, const Job& job, int first_row, int head,
                            const Softmax& softmax, const MmaC (&out)[kColumnTiles]) {
  const Global<Io> to(static_cast<Io*>(const_cast<void*>(p.out.data)));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = group_sum<4>(softmax.sum[half]);
    const int row = row_of(first_row, half);
    if (row >= job.queries) continue;
    // A row that sees no key has accumulated nothing: zero.
    const float factor = !variant::softmax ? 1.0f : sum == 0.0f ? 0.0f : divide(1.0f, sum);
    const i64 offset = row_offset(p.out, job, row, head);
#pragma unroll
    for (int tile = 0; tile < kColumnTiles; ++tile) {
      const int column = tile * 8 + MmaC::column(0);
      if (column >= shape::D_vo) continue;
      const float* const values = out[tile].values + 2 * half;
      const Vec<Io, 2> pair = {
          {from_float<Io>(values[0] * factor), from_float<Io>(values[1] * factor)}};
      to.template store_vector<2>(offset + column, pair);
    }
    if (variant::softmax && p.lse.data != nullptr && lane() % 4 == 0) {
      const Global<float> lse(static_cast<float*>(const_cast<void*>(p.lse.data)));
      lse.store(row_offset(p.lse, job, row, head), (softmax.maximum[half] + log2(sum)) * kLn2);
    }
  }
}

// Copies of one tensor's rows of keys.
template <int columns, int size>
KILN_DEVICE void copy_keys(const Params& p, const Job& job, const Matrix& to,
                           const Params::Heads& tensor, int first, int end, int kv_head) {
  copy_rows<kKeys, columns, size>(to, tensor.data, end - first, [&](int i) {
    const KeyPlace at = find_key<DeviceMemory>(p, job, first + i);
    return at.block < 0 ? i64{-1} : offset_of(tensor, at, kv_head);
  });
  async_commit();
}

KILN_DEVICE void run_tile(const Params& p, const Job& job, const Tiles& tiles, int first_row,
                          int head) {
  const int last_row = min(first_row + kRows, job.queries) - 1;
  const int kv_head = head / kGroup;
  const KeyRange keys = job.visible(p, first_row, last_row);
  // The keys that all rows see.
  const KeyRange whole = {job.visible(p, last_row).first, job.visible(p, first_row).end};
  const bool rules = has_rules(p);
  copy_rows<kRows, kDepth, shape::D_qk>(tiles.q(), p.q.data, last_row + 1 - first_row, [&](int i) {
    return row_offset(p.q, job, first_row + i, head);
  });
  async_commit();
  Softmax softmax = no_keys_yet(p, job, first_row, head);
  MmaC out[kColumnTiles] = {};
  async_wait<0>();
  block_barrier();
  MmaA q[kSteps];
  load_queries(tiles, q);
  block_barrier();  // keys and values may take the queries' place
  copy_keys<kDepth, shape::D_qk>(p, job, tiles.k(), p.k, keys.first, keys.end, kv_head);
  for (int first_key = keys.first; first_key < keys.end; first_key += kKeys) {
    copy_keys<kColumns, shape::D_vo>(p, job, tiles.v(), p.v, first_key, keys.end, kv_head);
    async_wait<1>();
    block_barrier();  // all copies of the keys are there
    Scores scores = multiply_keys(tiles, q);
    block_barrier();  // nobody reads these keys any more
    copy_keys<kDepth, shape::D_qk>(p, job, tiles.k(), p.k, first_key + kKeys, keys.end, kv_head);
    if (!rules && whole.first <= first_key && first_key + kKeys <= whole.end) {
      scale_tile(p, scores);
    } else {
      apply_rules_to_tile(p, job, first_row, first_key, head, scores);
    }
    if constexpr (variant::softmax) weigh(scores, softmax, out);
    async_wait<1>();
    block_barrier();  // all copies of the values are there
    add_values(tiles, scores, out);
    block_barrier();  // nobody reads these values any more
  }
  async_wait<0>();
  write_rows(p, job, first_row, head, softmax, out);
}

}  // namespace attention_prefill_detail

// Grid: x counts tiles of queries by number, y the query heads. Block: 128 threads.
KILN_KERNEL(128, 1) attention_prefill_mma(KILN_PARAMS(AttentionPrefillParams) p) {
  using namespace attention_prefill_detail;
  KILN_SHARED(Io, cells, kCells);
  dependency_wait();
  launch_dependents();

  // The last tiles of a causal sequence see the most keys: they begin first.
  const i64 number = i64{grid_dim().x} - 1 - block_idx().x;
  const Tile tile = find_tile<DeviceMemory>(p, kRows, number);
  const Job job = find_job<DeviceMemory>(p, tile.n);
  if (tile.first >= job.queries) return;
  run_tile(p, job, Tiles{cells}, tile.first, static_cast<int>(block_idx().y));
}

}  // namespace kiln
