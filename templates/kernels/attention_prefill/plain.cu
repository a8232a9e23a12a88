// SPDX-License-Identifier: Apache-2.0
// attention_prefill by ordinary arithmetic, no matrix instruction: serves what the fast kernels do
// not. A block has a tile of queries of one head and goes over the keys, a tile of keys and values
// in shared memory at a time, with the online softmax: the running maximum and sum of a row rescale
// what it has accumulated.
//
// Eight lanes share each row: they split the keys of a tile for the scores and the columns of the
// output for the sum over values, and hand scores to one another by shuffles. A thread has several
// rows, so that a key or value that it reads serves them all.
#include "kiln/base.h"  // whose KILN_DEVICE marks the functions of tiles.h

#include "attention_prefill/params.h"
#include "attention_prefill/tiles.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "varlen/sequences.h"

namespace kiln {
namespace attention_prefill_detail {

using Io = bf16;
using Params = AttentionPrefillParams;
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

constexpr int kThreads = 128;
constexpr int kRows = attention_prefill_rows(shape::D_qk, shape::D_vo);  // of a tile of queries
constexpr int kKeys = attention_prefill_keys(shape::D_qk, shape::D_vo);  // of a tile of keys
constexpr int kLanes = 8;                                                // that share a row
constexpr int kRowGroups = kThreads / kLanes;
constexpr int kRowsPerThread = kRows / kRowGroups;
constexpr int kKeysPerThread = kKeys / kLanes;

constexpr int kChunk = 8;  // elements that move at once: 128 bits
constexpr int kChunksQk = shape::D_qk / kChunk;
constexpr int kChunksVo = shape::D_vo / kChunk;
constexpr int kChunksPerThread = ceil_div(kChunksVo, kLanes);
// Rows lie an odd number of chunks apart, so that lanes on different rows meet in no bank.
constexpr int kStrideQk = (kChunksQk | 1) * kChunk;
// Every lane has as many columns: those beyond D_vo are zeros.
constexpr int kTileChunksVo = kChunksPerThread * kLanes;
constexpr int kStrideVo = kTileChunksVo * kChunk;
static_assert(shape::D_qk % kChunk == 0 && shape::D_vo % kChunk == 0, "refused by can_build");

using Chunk = Vec<Io, kChunk>;

struct Tiles {
  Shared<Io> q;  // [kRows][kStrideQk]
  Shared<Io> k;  // [kKeys][kStrideQk]
  Shared<Io> v;  // [kKeys][kStrideVo]
};

// Which part of a tile is this thread's: rows row_group + i * kRowGroups, keys lane + j * kLanes,
// output chunks lane + c * kLanes.
struct Place {
  int row_group;
  int lane;
};

// One head of one sequence. Tokens are counted within the sequence.
struct Head {
  i64 first_q;  // token of the packed tensors
  i64 first_kv;
  int queries;
  int keys;
  int q_head;
  int kv_head;
  // How many keys query `i` sees, the first ones.
  KILN_DEVICE int visible(int i) const {
    if constexpr (!shape::causal) return keys;
    // Bottom-right: the last query sees the last key.
    return min(max(i + 1 - queries + keys, 0), keys);
  }
};

KILN_DEVICE Chunk load_chunk(const void* data, i64 offset) {
  const Global<const Io> row(static_cast<const Io*>(data));
  if (row.aligned(offset, sizeof(Io) * kChunk)) {
    return row.load_vector<kChunk, Cache::readonly>(offset);
  }
  Chunk chunk;  // a view into a packed buffer may begin anywhere
#pragma unroll
  for (int i = 0; i < kChunk; ++i) chunk[i] = row.load(offset + i);
  return chunk;
}

// Rows `first` to first + rows of a head into a tile; zeros where that has more rows or chunks.
template <int tile_rows, int tile_chunks, int chunks, int stride>
KILN_DEVICE void load_tile(const Shared<Io>& tile, const Params::Heads& tensor, i64 first, int rows,
                           int head) {
  for (int i = thread_rank(); i < tile_rows * tile_chunks; i += kThreads) {
    const int row = i / tile_chunks;
    const int chunk = i % tile_chunks;
    Chunk values = {};
    if (row < rows && chunk < chunks) {
      values = load_chunk(tensor.data, (first + row) * tensor.token_stride +
                                           head * tensor.head_stride + chunk * kChunk);
    }
    tile.store_vector<kChunk>(row * stride + chunk * kChunk, values);
  }
}

// A thread's scores of one tile of keys, then the weights e^(score - maximum) in their place.
struct Scores {
  float values[kRowsPerThread][kKeysPerThread];
};

KILN_DEVICE Scores multiply_keys(const Tiles& tiles, const Place& place) {
  Scores scores = {};
  for (int chunk = 0; chunk < kChunksQk; ++chunk) {
    float q[kRowsPerThread][kChunk];
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int row = place.row_group + i * kRowGroups;
      const Chunk raw = tiles.q.load_vector<kChunk>(row * kStrideQk + chunk * kChunk);
#pragma unroll
      for (int e = 0; e < kChunk; ++e) q[i][e] = to_float(raw[e]);
    }
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) {
      const int key = place.lane + j * kLanes;
      const Chunk raw = tiles.k.load_vector<kChunk>(key * kStrideQk + chunk * kChunk);
#pragma unroll
      for (int e = 0; e < kChunk; ++e) {
        const float k = to_float(raw[e]);
#pragma unroll
        for (int i = 0; i < kRowsPerThread; ++i) {
          scores.values[i][j] = fma(q[i][e], k, scores.values[i][j]);
        }
      }
    }
  }
  return scores;
}

// What a thread has accumulated for its rows.
struct Result {
  float maximum[kRowsPerThread];  // of the scores, times log2 e; the same in all lanes of a row
  float sum[kRowsPerThread];      // of the weights of this lane's keys
  float out[kRowsPerThread][kChunksPerThread][kChunk];  // weights times values
};

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}

KILN_DEVICE Result no_keys_yet() {
  Result result = {};
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) result.maximum[i] = minus_infinity();
  return result;
}

// Scores to weights; rescales what was accumulated under a smaller maximum.
KILN_DEVICE void weigh(const Head& head, const Place& place, int first_row, int first_key,
                       float scale_log2, Scores& scores, Result& result) {
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int visible = head.visible(first_row + place.row_group + i * kRowGroups) - first_key;
    float maximum = result.maximum[i];
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) {
      float& score = scores.values[i][j];
      score = place.lane + j * kLanes < visible ? score * scale_log2 : minus_infinity();
      maximum = max(maximum, score);
    }
    maximum = group_max<kLanes>(maximum);
    // While a row has seen no key, infinity less infinity would be no number.
    const float reference = maximum == minus_infinity() ? 0.0f : maximum;
    const float rescale = fast_exp2(result.maximum[i] - reference);
    result.maximum[i] = maximum;
    result.sum[i] *= rescale;
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) {
      scores.values[i][j] = fast_exp2(scores.values[i][j] - reference);
      result.sum[i] += scores.values[i][j];
    }
#pragma unroll
    for (int c = 0; c < kChunksPerThread; ++c) {
#pragma unroll
      for (int e = 0; e < kChunk; ++e) result.out[i][c][e] *= rescale;
    }
  }
}

KILN_DEVICE void add_values(const Tiles& tiles, const Place& place, const Scores& weights,
                            Result& result) {
  for (int owner = 0; owner < kLanes; ++owner) {  // the lane that has the weights of these keys
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) {
      float weight[kRowsPerThread];
#pragma unroll
      for (int i = 0; i < kRowsPerThread; ++i) {
        weight[i] = shuffle(weights.values[i][j], owner, kLanes);
      }
      const int key = owner + j * kLanes;
#pragma unroll
      for (int c = 0; c < kChunksPerThread; ++c) {
        const int chunk = place.lane + c * kLanes;
        const Chunk raw = tiles.v.load_vector<kChunk>(key * kStrideVo + chunk * kChunk);
#pragma unroll
        for (int e = 0; e < kChunk; ++e) {
          const float v = to_float(raw[e]);
#pragma unroll
          for (int i = 0; i < kRowsPerThread; ++i) {
            result.out[i][c][e] = fma(weight[i], v, result.out[i][c][e]);
          }
        }
      }
    }
  }
}

KILN_DEVICE void store_chunk(const Global<Io>& out, i64 offset, const float (&values)[kChunk],
                             float factor) {
  Chunk chunk;
#pragma unroll
  for (int e = 0; e < kChunk; ++e) chunk[e] = from_float<Io>(values[e] * factor);
  if (out.aligned(offset, sizeof(Io) * kChunk)) {
    out.store_vector<kChunk>(offset, chunk);
  } else {
#pragma unroll
    for (int e = 0; e < kChunk; ++e) out.store(offset + e, chunk[e]);
  }
}

KILN_DEVICE void write_rows(const Params& p, const Head& head, const Place& place, int first_row,
                            const Result& result) {
  const Global<Io> out(static_cast<Io*>(p.out));
  float sums[kRowsPerThread];
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) sums[i] = group_sum<kLanes>(result.sum[i]);
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const float sum = sums[i];
    const int row = first_row + place.row_group + i * kRowGroups;
    if (row >= head.queries) continue;
    const i64 token = head.first_q + row;
    // A row that sees no key has accumulated nothing: zero.
    const float factor = sum == 0.0f ? 0.0f : divide(1.0f, sum);
    const i64 offset = token * p.out_token_stride + head.q_head * p.out_head_stride;
#pragma unroll
    for (int c = 0; c < kChunksPerThread; ++c) {
      const int chunk = place.lane + c * kLanes;
      if (chunk < kChunksVo) store_chunk(out, offset + chunk * kChunk, result.out[i][c], factor);
    }
    if (p.lse != nullptr && place.lane == 0) {
      const Global<float> lse(p.lse);
      lse.store(token * p.lse_token_stride + head.q_head * p.lse_head_stride,
                (result.maximum[i] + log2(sum)) * kLn2);
    }
  }
}

KILN_DEVICE void run_tile(const Params& p, const Head& head, const Tiles& tiles, int first_row) {
  const Place place{thread_rank() / kLanes, thread_rank() % kLanes};
  const int rows = min(kRows, head.queries - first_row);
  const int keys = head.visible(first_row + rows - 1);  // the last row sees the most
  const float scale_log2 = p.scale * kLog2E;
  load_tile<kRows, kChunksQk, kChunksQk, kStrideQk>(tiles.q, p.q, head.first_q + first_row, rows,
                                                    head.q_head);
  Result result = no_keys_yet();
  for (int first_key = 0; first_key < keys; first_key += kKeys) {
    block_barrier();  // nobody reads the tiles of keys before any more
    const int tile_keys = min(kKeys, keys - first_key);
    load_tile<kKeys, kChunksQk, kChunksQk, kStrideQk>(tiles.k, p.k, head.first_kv + first_key,
                                                      tile_keys, head.kv_head);
    load_tile<kKeys, kTileChunksVo, kChunksVo, kStrideVo>(tiles.v, p.v, head.first_kv + first_key,
                                                          tile_keys, head.kv_head);
    block_barrier();
    Scores scores = multiply_keys(tiles, place);
    weigh(head, place, first_row, first_key, scale_log2, scores, result);
    add_values(tiles, place, scores, result);
  }
  write_rows(p, head, place, first_row, result);
}

}  // namespace attention_prefill_detail

// Grid: x counts tiles of queries (varlen/tile_count.h), y the query heads. Block: 128 threads.
KILN_KERNEL(128, 2) attention_prefill_plain(KILN_PARAMS(AttentionPrefillParams) p) {
  using namespace attention_prefill_detail;
  KILN_SHARED(Io, q_tile, kRows * kStrideQk);
  KILN_SHARED(Io, k_tile, kKeys * kStrideQk);
  KILN_SHARED(Io, v_tile, kKeys * kStrideVo);
  dependency_wait();
  launch_dependents();

  // The last tiles of a causal sequence see the most keys: they begin first.
  const i64 number = i64{grid_dim().x} - 1 - block_idx().x;
  const Global<const i32> starts_q(p.cu_seqlens_q);
  const SequenceTile tile = sequence_tile(starts_q, p.batch, p.total_q, kRows, number);
  const Sequence q = sequence_at(starts_q, tile.n, p.total_q);
  if (tile.first >= q.length) return;
  const Sequence kv = sequence_at(Global<const i32>(p.cu_seqlens_kv), tile.n, p.total_kv);
  const int q_head = static_cast<int>(block_idx().y);
  const Head head{q.first,
                  kv.first,
                  static_cast<int>(q.length),
                  static_cast<int>(kv.length),
                  q_head,
                  q_head / (shape::Hq / shape::Hkv)};
  run_tile(p, head, Tiles{q_tile, k_tile, v_tile}, static_cast<int>(tile.first));
}

}  // namespace kiln
