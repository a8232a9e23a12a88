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

#include "attention_prefill/geometry.h"
#include "attention_prefill/tiles.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fast_math.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
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
constexpr int kRows = attention_prefill_rows(shape::D_qk, shape::D_vo);  // of a tile of queries
constexpr int kKeys = attention_prefill_keys(shape::D_qk, shape::D_vo);  // of a tile of keys
constexpr int kLanes = 8;                                                // that share a row
constexpr int kRowGroups = kThreads / kLanes;
constexpr int kRowsPerThread = kRows / kRowGroups;
constexpr int kKeysPerThread = kKeys / kLanes;

constexpr int kChunk = 8;  // elements that move at once: 128 bits
constexpr int kChunksQk = ceil_div(shape::D_qk, kChunk);
constexpr int kChunksVo = ceil_div(shape::D_vo, kChunk);
constexpr int kChunksPerThread = ceil_div(kChunksVo, kLanes);
// Rows lie an odd number of chunks apart, so that lanes on different rows meet in no bank.
constexpr int kStrideQk = (kChunksQk | 1) * kChunk;
// Every lane has as many columns: those beyond D_vo are zeros.
constexpr int kTileChunksVo = kChunksPerThread * kLanes;
constexpr int kStrideVo = kTileChunksVo * kChunk;

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

// Elements first to first + kChunk of a row of `size` elements at `offset`; zeros behind its end.
template <int size>
KILN_DEVICE Chunk load_chunk(const void* data, i64 offset, int first) {
  const Global<const Io> row(static_cast<const Io*>(data));
  const bool whole = size % kChunk == 0 || first + kChunk <= size;
  if (whole && row.aligned(offset + first, sizeof(Io) * kChunk)) {
    return row.load_vector<kChunk, Cache::readonly>(offset + first);
  }
  Chunk chunk = {};  // a view into a packed buffer may begin anywhere
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    if (first + i < size) chunk[i] = row.load(offset + first + i);
  }
  return chunk;
}

// `rows` rows of a head of `size` elements into a tile, row i from place(i), an offset or, where
// there is nothing, a negative number; zeros there and where the tile has more rows or chunks.
template <int tile_rows, int tile_chunks, int size, int stride, class PlaceOf>
KILN_DEVICE void load_tile(const Shared<Io>& tile, const void* data, int rows, PlaceOf place) {
  for (int i = thread_rank(); i < tile_rows * tile_chunks; i += kThreads) {
    const int row = i / tile_chunks;
    const int chunk = i % tile_chunks;
    Chunk values = {};
    if (row < rows && chunk * kChunk < size) {
      const i64 offset = place(row);
      if (!shape::paged || offset >= 0) values = load_chunk<size>(data, offset, chunk * kChunk);
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

// With the sink of each row as its first key, which has no value: in one lane's sum.
KILN_DEVICE Result no_keys_yet(const Params& p, const Job& job, const Place& place, int first_row,
                               int head) {
  Result result = {};
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    result.maximum[i] = minus_infinity();
    if (!variant::softmax || (p.sinks == nullptr && !variant::has_sink)) continue;
    const int row = min(first_row + place.row_group + i * kRowGroups, job.queries - 1);
    result.maximum[i] = first_logit<DeviceMemory>(p, job, row, head) * kLog2E;
    if (place.lane == 0 && result.maximum[i] != minus_infinity()) result.sum[i] = 1.0f;
  }
  return result;
}

// The keys of a tile that a row sees get their logits, times log2 e with softmax; the others
// -infinity, or 0 without.
KILN_DEVICE void apply_rules_to_tile(const Params& p, const Job& job, const Place& place,
                                     int first_row, int first_key, int head, Scores& scores) {
  const bool rules = has_rules(p);
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = first_row + place.row_group + i * kRowGroups;
    const KeyRange range = job.visible(p, row);
    const bool is_row = row < job.queries;
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) {
      const int key = first_key + place.lane + j * kLanes;
      float score = scores.values[i][j] * p.scale;
      bool seen = is_row && range.first <= key && key < range.end;
      if (rules && seen) seen = apply_rules<DeviceMemory>(p, job, row, key, head, score);
      const float logit = variant::softmax ? score * kLog2E : score;
      scores.values[i][j] = seen ? logit : variant::softmax ? minus_infinity() : 0.0f;
    }
  }
}

// Logits to weights; rescales what was accumulated under a smaller maximum.
KILN_DEVICE void weigh(Scores& scores, Result& result) {
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    float maximum = result.maximum[i];
#pragma unroll
    for (int j = 0; j < kKeysPerThread; ++j) maximum = max(maximum, scores.values[i][j]);
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

KILN_DEVICE void store_chunk(const Global<Io>& out, i64 offset, int first,
                             const float (&values)[kChunk], float factor) {
  Chunk chunk;
#pragma unroll
  for (int e = 0; e < kChunk; ++e) chunk[e] = from_float<Io>(values[e] * factor);
  const bool whole = shape::D_vo % kChunk == 0 || first + kChunk <= shape::D_vo;
  if (whole && out.aligned(offset + first, sizeof(Io) * kChunk)) {
    out.store_vector<kChunk>(offset + first, chunk);
    return;
  }
#pragma unroll
  for (int e = 0; e < kChunk; ++e) {
    if (first + e < shape::D_vo) out.store(offset + first + e, chunk[e]);
  }
}

KILN_DEVICE void write_rows(const Params& p, const Job& job, const Place& place, int first_row,
                            int head, const Result& result) {
  const Global<Io> out(static_cast<Io*>(const_cast<void*>(p.out.data)));
  float sums[kRowsPerThread];
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) sums[i] = group_sum<kLanes>(result.sum[i]);
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const float sum = sums[i];
    const int row = first_row + place.row_group + i * kRowGroups;
    if (row >= job.queries) continue;
    // A row that sees no key has accumulated nothing: zero.
    const float factor = !variant::softmax ? 1.0f : sum == 0.0f ? 0.0f : divide(1.0f, sum);
    const i64 offset = row_offset(p.out, job, row, head);
#pragma unroll
    for (int c = 0; c < kChunksPerThread; ++c) {
      const int chunk = place.lane + c * kLanes;
      if (chunk < kChunksVo) store_chunk(out, offset, chunk * kChunk, result.out[i][c], factor);
    }
    if (variant::softmax && p.lse.data != nullptr && place.lane == 0) {
      const Global<float> lse(static_cast<float*>(const_cast<void*>(p.lse.data)));
      lse.store(row_offset(p.lse, job, row, head), (result.maximum[i] + log2(sum)) * kLn2);
    }
  }
}

KILN_DEVICE void run_tile(const Params& p, const Job& job, const Tiles& tiles, int first_row,
                          int head) {
  const Place place{thread_rank() / kLanes, thread_rank() % kLanes};
  const int rows = min(kRows, job.queries - first_row);
  const int kv_head = head / kGroup;
  const KeyRange keys = job.visible(p, first_row, first_row + rows - 1);
  load_tile<kRows, kChunksQk, shape::D_qk, kStrideQk>(
      tiles.q, p.q.data, rows, [&](int i) { return row_offset(p.q, job, first_row + i, head); });
  Result result = no_keys_yet(p, job, place, first_row, head);
  for (int first_key = keys.first; first_key < keys.end; first_key += kKeys) {
    block_barrier();  // nobody reads the tiles of keys before any more
    const int tile_keys = min(kKeys, keys.end - first_key);
    const auto place_in = [&](const Params::Heads& tensor) {
      return [&p, &job, &tensor, first_key, kv_head](int i) {
        const KeyPlace at = find_key<DeviceMemory>(p, job, first_key + i);
        return at.block < 0 ? i64{-1} : offset_of(tensor, at, kv_head);
      };
    };
    load_tile<kKeys, kChunksQk, shape::D_qk, kStrideQk>(tiles.k, p.k.data, tile_keys,
                                                        place_in(p.k));
    load_tile<kKeys, kTileChunksVo, shape::D_vo, kStrideVo>(tiles.v, p.v.data, tile_keys,
                                                            place_in(p.v));
    block_barrier();
    Scores scores = multiply_keys(tiles, place);
    apply_rules_to_tile(p, job, place, first_row, first_key, head, scores);
    if constexpr (variant::softmax) weigh(scores, result);
    add_values(tiles, place, scores, result);
  }
  write_rows(p, job, place, first_row, head, result);
}

}  // namespace attention_prefill_detail

// Grid: x counts tiles of queries by number, y the query heads. Block: 128
// threads.
KILN_KERNEL(128, 2) attention_prefill_plain(KILN_PARAMS(AttentionPrefillParams) p) {
  using namespace attention_prefill_detail;
  KILN_SHARED(Io, q_tile, kRows * kStrideQk);
  KILN_SHARED(Io, k_tile, kKeys * kStrideQk);
  KILN_SHARED(Io, v_tile, kKeys * kStrideVo);
  dependency_wait();
  launch_dependents();

  // The last tiles of a causal sequence see the most keys: they begin first.
  const i64 number = i64{grid_dim().x} - 1 - block_idx().x;
  const Tile tile = find_tile<DeviceMemory>(p, kRows, number);
  const Job job = find_job<DeviceMemory>(p, tile.n);
  if (tile.first >= job.queries) return;
  run_tile(p, job, Tiles{q_tile, k_tile, v_tile}, tile.first, static_cast<int>(block_idx().y));
}

}  // namespace kiln
