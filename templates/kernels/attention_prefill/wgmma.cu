// SPDX-License-Identifier: Apache-2.0
// attention_prefill by the products of warpgroups (wgmma, sm_90a). A block has 128 queries of one
// head and goes over the keys from the last tile to the first. One warpgroup brings tiles of keys
// and values by cp.async into two stages each; two others have 64 queries each: scores = Q K^T from
// shared memory, online softmax in registers, out += weights V with the weights from registers.
// While a warpgroup computes the weights of a tile, the product of the last tile's weights is under
// way, and the other warpgroup's products are: they take turns by named barriers (FlashAttention-3,
// arXiv 2407.08608, sections 3.1 and 3.2).
//
// The weights are rounded to the io type before they meet the values; sums are fp32.
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
#include "kiln/mbarrier.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "kiln/warpgroup.h"

namespace kiln {
namespace attention_prefill_detail {

template <class T>
using DeviceMemory = Global<const T>;

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

constexpr int kWarpgroup = 128;  // threads
constexpr int kConsumers = 2;    // warpgroups
constexpr int kRows = kAttentionPrefillWgmmaRows;
static_assert(kRows == 64 * kConsumers, "a warpgroup's product has 64 rows");
constexpr int kKeys = attention_prefill_wgmma_keys(shape::D_qk, shape::D_vo);
constexpr int kStages = 2;
static_assert(shape::D_qk % 64 == 0 && shape::D_vo % 64 == 0, "tiles are panels of 64 columns");
constexpr int kSteps = shape::D_qk / 16;
constexpr int kKeyTiles = kKeys / 8;
// A product with the values has 128 or 64 columns.
constexpr int kPartTiles = shape::D_vo % 128 == 0 ? 16 : 8;
constexpr int kParts = shape::D_vo / (8 * kPartTiles);

constexpr u32 kQBytes = 2 * kRows * shape::D_qk;
constexpr u32 kKBytes = 2 * kKeys * shape::D_qk;
constexpr u32 kVBytes = 2 * kKeys * shape::D_vo;
constexpr u32 kBarrierBytes = 8 * (1 + 4 * kStages);
static_assert(1024 + kQBytes + kStages * (kKBytes + kVBytes) + kBarrierBytes <=
                  kAttentionPrefillWgmmaSharedBytes,
              "the launch asks for as much");

// Where everything lies in shared memory, from a multiple of 1,024 bytes on.
struct Memory {
  u32 base;
  KILN_DEVICE SwizzledTile<kRows> q() const { return {base}; }
  KILN_DEVICE SwizzledTile<kKeys> k(u32 stage) const { return {base + kQBytes + stage * kKBytes}; }
  KILN_DEVICE SwizzledTile<kKeys> v(u32 stage) const {
    return {base + kQBytes + kStages * kKBytes + stage * kVBytes};
  }
  KILN_DEVICE Mbarrier q_full() const { return barrier(0); }
  KILN_DEVICE Mbarrier k_full(u32 stage) const { return barrier(1 + stage); }
  KILN_DEVICE Mbarrier k_empty(u32 stage) const { return barrier(1 + kStages + stage); }
  KILN_DEVICE Mbarrier v_full(u32 stage) const { return barrier(1 + 2 * kStages + stage); }
  KILN_DEVICE Mbarrier v_empty(u32 stage) const { return barrier(1 + 3 * kStages + stage); }

  KILN_DEVICE void init_barriers() const {
    q_full().init(kWarpgroup);
#pragma unroll
    for (u32 stage = 0; stage < kStages; ++stage) {
      k_full(stage).init(kWarpgroup);
      v_full(stage).init(kWarpgroup);
      k_empty(stage).init(kConsumers * 4);  // a lane of each warp
      v_empty(stage).init(kConsumers * 4);
    }
  }

 private:
  KILN_DEVICE Mbarrier barrier(u32 i) const {
    return {base + kQBytes + kStages * (kKBytes + kVBytes) + 8 * i};
  }
};

// Uses of a ring of stages, in turn.
struct Turn {
  u32 stage = 0;
  u32 phase = 0;
  KILN_DEVICE void next() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

KILN_DEVICE float minus_infinity() {
  return bit_cast<float>(0xff800000u);
}

// What a block works on.
struct Work {
  Job job;
  int first_row;
  int head;
  KeyRange keys;  // that any of its rows may see
  int tiles;      // of keys
  // From the last tile to the first.
  KILN_DEVICE int first_key(int tile) const { return keys.first + (tiles - 1 - tile) * kKeys; }
};

// The producer: 16 bytes of a thread in each panel, in every 16th row.
template <int tile_rows, int size, class PlaceOf>
KILN_DEVICE void copy_tile(const SwizzledTile<tile_rows>& to, const void* data, int rows,
                           PlaceOf place) {
  const int chunk = thread_rank() % 8;
  const int own = thread_rank() / 8;
  const u32 first = to.chunk(0, own, chunk);
  const Io* const from = static_cast<const Io*>(data) + chunk * 8;
#pragma unroll 4
  for (int pass = 0; pass < tile_rows / 16; ++pass) {
    const int row = pass * 16 + own;
    const i64 offset = row < rows ? place(row) : -1;
    const Io* const address = from + (offset < 0 ? 0 : offset);
#pragma unroll
    for (int panel = 0; panel < size / 64; ++panel) {
      dialect::async_copy_to<16>(
          first + static_cast<u32>(panel) * SwizzledTile<tile_rows>::kPanelBytes +
              static_cast<u32>(pass) * (16 * 128),
          address + (offset < 0 ? 0 : panel * 64), offset >= 0);
    }
  }
}

template <int size>
KILN_DEVICE void copy_keys(const Params& p, const Work& work, const SwizzledTile<kKeys>& to,
                           const Params::Heads& tensor, int tile) {
  const int first = work.first_key(tile);
  copy_tile<kKeys, size>(to, tensor.data, work.keys.end - first, [&](int i) {
    const KeyPlace at = find_key<DeviceMemory>(p, work.job, first + i);
    return at.block < 0 ? i64{-1} : offset_of(tensor, at, work.head / kGroup);
  });
}

// The order in which the consumers want them: the next keys before the values of these.
KILN_DEVICE void produce(const Params& p, const Work& work, const Memory& memory) {
  copy_tile<kRows, shape::D_qk>(
      memory.q(), p.q.data, work.job.queries - work.first_row,
      [&](int i) { return row_offset(p.q, work.job, work.first_row + i, work.head); });
  memory.q_full().arrive_after_copies();
  Turn k;
  Turn v;
  for (int tile = 0; tile <= work.tiles; ++tile) {
    if (tile < work.tiles) {
      if (tile >= kStages) memory.k_empty(k.stage).wait(k.phase ^ 1);
      copy_keys<shape::D_qk>(p, work, memory.k(k.stage), p.k, tile);
      memory.k_full(k.stage).arrive_after_copies();
      k.next();
    }
    if (tile > 0) {
      if (tile > kStages) memory.v_empty(v.stage).wait(v.phase ^ 1);
      copy_keys<shape::D_vo>(p, work, memory.v(v.stage), p.v, tile - 1);
      memory.v_full(v.stage).arrive_after_copies();
      v.next();
    }
  }
  dialect::async_wait<0>();
}

using Scores = MmaC[kKeyTiles];
using Output = MmaC[kParts][kPartTiles];
using Weights = MmaA[kKeys / 16];

// The lane's two rows of the 16 of its warp.
struct Softmax {
  float maximum[2];  // of the scores, without scale
  float sum[2];      // of the weights of this lane's keys
};

// Which of the consumers' 64 rows: the warpgroup's first one and this lane's.
KILN_DEVICE int consumer() {
  return warp() / 4 - 1;
}
KILN_DEVICE int row_of(int first_row, int half) {
  return first_row + (warp() - 4) * 16 + lane() / 4 + half * 8;
}

// The warpgroups take turns at starting products.
KILN_DEVICE void wait_for_turn() {
  named_barrier(1 + consumer(), kConsumers * kWarpgroup);
}
KILN_DEVICE void give_turn() {
  dialect::named_barrier_arrive(1 + (consumer() ^ 1), kConsumers * kWarpgroup);
}

KILN_DEVICE void release(const Mbarrier& empty) {
  if (lane() == 0) empty.arrive();
}

KILN_DEVICE void start_scores(const Memory& memory, u32 stage, Scores& scores) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    warpgroup_mma<Io>(scores, memory.q().along_rows(consumer() * 64, step),
                      memory.k(stage).along_rows(0, step), step > 0);
  }
  warpgroup_commit();
}
KILN_DEVICE void start_output(const Memory& memory, u32 stage, const Weights& weights, Output& out,
                              bool add) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      warpgroup_mma<Io>(out[part], weights[step],
                        memory.v(stage).along_columns(part * kPartTiles / 8, step),
                        add || step > 0);
    }
  }
  warpgroup_commit();
}
template <int pending>
KILN_DEVICE void wait_for_output(Output& out) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) warpgroup_wait<pending>(out[part]);
}

// What a row does not see becomes -infinity.
KILN_DEVICE void mask_scores(const Params& p, const Work& work, int tile, Scores& scores) {
  const int first_key = work.first_key(tile);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const KeyRange range = work.job.visible(p, row_of(work.first_row, half));
    const int first = range.first - first_key;
    const int end = range.end - first_key;
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int key = i * 8 + MmaC::column(j);
        if (key < first || key >= end) scores[i].values[2 * half + j] = minus_infinity();
      }
    }
  }
}

// Scores to weights; rescale[half] is what was accumulated under a smaller maximum worth.
KILN_DEVICE void weigh(float scale_log2, Scores& scores, Softmax& softmax, float (&rescale)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = softmax.maximum[half];
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
      const float* const values = scores[i].values + 2 * half;
      maximum = fast_max(maximum, fast_max(values[0], values[1]));
    }
    maximum = group_max<4>(maximum);
    // While a row has seen no key, infinity less infinity would be no number.
    const float reference = maximum == minus_infinity() ? 0.0f : maximum * scale_log2;
    rescale[half] = fast_exp2(softmax.maximum[half] * scale_log2 - reference);
    softmax.maximum[half] = maximum;
    float sum = softmax.sum[half] * rescale[half];
#pragma unroll
    for (int i = 0; i < kKeyTiles; ++i) {
      float* const values = scores[i].values + 2 * half;
      values[0] = fast_exp2(fma(values[0], scale_log2, -reference));
      values[1] = fast_exp2(fma(values[1], scale_log2, -reference));
      sum += values[0] + values[1];
    }
    softmax.sum[half] = sum;
  }
}

KILN_DEVICE void pack_weights(const Scores& scores, Weights& weights) {
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const values = scores[2 * step + i / 2].values + i % 2 * 2;
      weights[step].words[i] = MatrixWord{pack2<Io>(values[0], values[1])};
    }
  }
}

KILN_DEVICE void rescale_output(const float (&rescale)[2], Output& out) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int tile = 0; tile < kPartTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[part][tile].values[i] *= rescale[i / 2];
    }
  }
}

// With the sink of each row as its first key, which has no value: in one lane's sum.
KILN_DEVICE Softmax no_keys_yet(const Params& p, const Work& work) {
  Softmax softmax;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.maximum[half] = minus_infinity();
    softmax.sum[half] = 0.0f;
    if (p.sinks == nullptr) continue;
    softmax.maximum[half] = divide(Global<const float>(p.sinks).load(work.head), p.scale);
    if (lane() % 4 == 0 && softmax.maximum[half] != minus_infinity()) softmax.sum[half] = 1.0f;
  }
  return softmax;
}

KILN_DEVICE void write_rows(const Params& p, const Work& work, const Softmax& softmax,
                            const Output& out) {
  const Global<Io> to(static_cast<Io*>(const_cast<void*>(p.out.data)));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = group_sum<4>(softmax.sum[half]);
    const int row = row_of(work.first_row, half);
    if (row >= work.job.queries) continue;
    // A row that sees no key has accumulated nothing: zero.
    const float factor = sum == 0.0f ? 0.0f : divide(1.0f, sum);
    const i64 offset = row_offset(p.out, work.job, row, work.head);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int tile = 0; tile < kPartTiles; ++tile) {
        const float* const values = out[part][tile].values + 2 * half;
        const Vec<Io, 2> pair = {
            {from_float<Io>(values[0] * factor), from_float<Io>(values[1] * factor)}};
        to.store_vector<2>(offset + (part * kPartTiles + tile) * 8 + MmaC::column(0), pair);
      }
    }
    if (p.lse.data != nullptr && lane() % 4 == 0) {
      const Global<float> lse(static_cast<float*>(const_cast<void*>(p.lse.data)));
      lse.store(row_offset(p.lse, work.job, row, work.head),
                softmax.maximum[half] * p.scale + log2(sum) * kLn2);
    }
  }
}

KILN_DEVICE void consume(const Params& p, const Work& work, const Memory& memory) {
  // The keys that all rows of this warpgroup see.
  const int first_row = work.first_row + consumer() * 64;
  const int last_row = min(first_row + 63, work.job.queries - 1);
  const KeyRange whole = {work.job.visible(p, last_row).first,
                          work.job.visible(p, min(first_row, last_row)).end};
  const auto is_whole = [&](int tile) {
    const int first_key = work.first_key(tile);
    return whole.first <= first_key && first_key + kKeys <= whole.end;
  };
  const float scale_log2 = p.scale * kLog2E;
  Softmax softmax = no_keys_yet(p, work);
  float rescale[2];
  Output out;
  if (work.tiles == 0) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int tile = 0; tile < kPartTiles; ++tile) out[part][tile] = MmaC{};
    }
    write_rows(p, work, softmax, out);
    return;
  }
  Weights weights;
  Turn k;
  Turn v;
  memory.q_full().wait(0);
  memory.k_full(0).wait(0);
  fence_for_async_proxy();
  {
    Scores scores;
    warpgroup_arrive();
    start_scores(memory, 0, scores);
    warpgroup_wait<0>(scores);
    release(memory.k_empty(0));
    k.next();
    if (!is_whole(0)) mask_scores(p, work, 0, scores);
    weigh(scale_log2, scores, softmax, rescale);
    pack_weights(scores, weights);
  }
  if (consumer() == 1) give_turn();
  for (int tile = 1; tile < work.tiles; ++tile) {
    Scores scores;
    memory.k_full(k.stage).wait(k.phase);
    fence_for_async_proxy();
    wait_for_turn();
    warpgroup_arrive();
    start_scores(memory, k.stage, scores);
    memory.v_full(v.stage).wait(v.phase);
    fence_for_async_proxy();
    start_output(memory, v.stage, weights, out, tile > 1);
    give_turn();
    warpgroup_wait<1>(scores);
    release(memory.k_empty(k.stage));
    k.next();
    if (!is_whole(tile)) mask_scores(p, work, tile, scores);
    weigh(scale_log2, scores, softmax, rescale);
    wait_for_output<0>(out);
    release(memory.v_empty(v.stage));
    v.next();
    pack_weights(scores, weights);
    rescale_output(rescale, out);
  }
  memory.v_full(v.stage).wait(v.phase);
  fence_for_async_proxy();
  warpgroup_arrive();
  start_output(memory, v.stage, weights, out, work.tiles > 1);
  wait_for_output<0>(out);
  write_rows(p, work, softmax, out);
}

}  // namespace attention_prefill_detail

// Grid: x counts tiles of queries by number, y the query heads. Block: three warpgroups.
KILN_KERNEL(384, 1) attention_prefill_wgmma(KILN_PARAMS(AttentionPrefillParams) p) {
  using namespace attention_prefill_detail;
  KILN_SHARED_DYNAMIC(u8, bytes, 0, kAttentionPrefillWgmmaSharedBytes);
  const Memory memory{(dialect::shared_address(bytes.raw(0)) + 1023u) & ~1023u};
  dependency_wait();
  launch_dependents();

  // The last tiles of a causal sequence see the most keys: they begin first.
  const i64 number = i64{grid_dim().x} - 1 - block_idx().x;
  const Tile tile = find_tile<DeviceMemory>(p, kRows, number);
  Work work;
  work.job = find_job<DeviceMemory>(p, tile.n);
  if (tile.first >= work.job.queries) return;
  work.first_row = tile.first;
  work.head = static_cast<int>(block_idx().y);
  work.keys = work.job.visible(p, tile.first, min(tile.first + kRows, work.job.queries) - 1);
  work.tiles =
      work.keys.first < work.keys.end ? ceil_div(work.keys.end - work.keys.first, kKeys) : 0;
  if (thread_rank() == 0) memory.init_barriers();
  block_barrier();
  if (warp() < 4) {
    give_registers_back<40>();
    if (work.tiles > 0) produce(p, work, memory);
  } else {
    take_registers<232>();
    consume(p, work, memory);
  }
}

}  // namespace kiln
