// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm with each vector in registers: a group of threads holds it in packs of 8 elements, so
// it is read once and written once. Groups of up to a warp add up by shuffles alone; larger ones
// through shared memory. The first blocks of the grid do q, the others k. Rotation in halves (NeoX)
// goes through shared memory as well, since a pack's partner may be anywhere in the group.
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/fp8_round.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "qk_rmsnorm/gpu_groups.h"
#include "qk_rmsnorm/params.h"

namespace kiln {
namespace qk_rmsnorm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Weight = StorageType<shape::weights_is::bf16, shape::weights_is::f16>;
using Table = StorageType<shape::rope_table_is::bf16, shape::rope_table_is::f16>;

constexpr bool kRotates = !shape::rope_is::none;
constexpr int kHalf = shape::rotary / 2;
constexpr int kThreads = kQkRmsnormThreads;
constexpr int kWarps = kThreads / warp_size;
constexpr int kPack = kQkRmsnormPackElements;

// How a side of n elements per vector is shared out.
template <int n>
struct Layout {
  static constexpr int kSize = n;
  static constexpr int kGroup = qk_rmsnorm_group(n);
  static constexpr int kVectors = qk_rmsnorm_vectors_per_block(n);            // of a block
  static constexpr int kPacks = (n + kGroup * kPack - 1) / (kGroup * kPack);  // of a thread
};

// What a thread holds of a vector, widened; zeros beyond its end.
template <class L>
struct Packs {
  float values[L::kPacks][kPack];
};

// The thread's pack number p begins here: neighbours in the group hold neighbouring packs.
template <class L>
KILN_DEVICE int pack_begin(int p) {
  return (p * L::kGroup + thread_rank() % L::kGroup) * kPack;
}

// Whether the pack at `begin` lies within the vector: known at compile time for most sizes.
template <class L>
KILN_DEVICE bool is_whole(int begin) {
  return L::kSize % kPack == 0 || begin + kPack <= L::kSize;
}

template <class L>
KILN_DEVICE Packs<L> load_packs(const Global<const Io>& vector) {
  Packs<L> packs;
#pragma unroll
  for (int p = 0; p < L::kPacks; ++p) {
    const int begin = pack_begin<L>(p);
    float(&pack)[kPack] = packs.values[p];
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack[i] = 0.0f;
    if (begin >= L::kSize) continue;
    if (is_whole<L>(begin) && vector.aligned(begin, sizeof(Io) * kPack)) {
      const Vec<Io, kPack> raw = vector.load_vector<kPack>(begin);
#pragma unroll
      for (int i = 0; i < kPack; ++i) pack[i] = to_float(raw[i]);
    } else {  // a view into a packed buffer may begin anywhere
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (begin + i < L::kSize) pack[i] = to_float(vector.load(begin + i));
      }
    }
  }
  return packs;
}

template <class L>
KILN_DEVICE void store_packs(const Global<Io>& vector, const Packs<L>& packs) {
#pragma unroll
  for (int p = 0; p < L::kPacks; ++p) {
    const int begin = pack_begin<L>(p);
    const float(&pack)[kPack] = packs.values[p];
    if (begin >= L::kSize) continue;
    if (is_whole<L>(begin) && vector.aligned(begin, sizeof(Io) * kPack)) {
      Vec<Io, kPack> raw;
#pragma unroll
      for (int i = 0; i < kPack; ++i) raw[i] = from_float<Io>(pack[i]);
      vector.store_vector<kPack>(begin, raw);
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if (begin + i < L::kSize) vector.store(begin + i, from_float<Io>(pack[i]));
      }
    }
  }
}

// What a thread needs of the weights; as stored, so that they take few registers while the vector
// is on its way.
template <class L>
struct WeightPacks {
  Weight values[L::kPacks][kPack];
};

template <class L>
KILN_DEVICE WeightPacks<L> load_weights(const void* data) {
  const Global<const Weight> weight(static_cast<const Weight*>(data));
  constexpr int kHalf = kPack / 2;  // four floats are as wide as a load can be
  const bool aligned = weight.aligned(0, sizeof(Weight) * kHalf);
  WeightPacks<L> packs;
#pragma unroll
  for (int p = 0; p < L::kPacks; ++p) {
#pragma unroll
    for (int half = 0; half < kPack; half += kHalf) {
      const int begin = pack_begin<L>(p) + half;
      if (aligned && begin + kHalf <= L::kSize) {
        const Vec<Weight, kHalf> raw = weight.load_vector<kHalf, Cache::readonly>(begin);
#pragma unroll
        for (int i = 0; i < kHalf; ++i) packs.values[p][half + i] = raw[i];
      } else {
#pragma unroll
        for (int i = 0; i < kHalf; ++i) {
          packs.values[p][half + i] =
              begin + i < L::kSize ? weight.load(begin + i) : from_float<Weight>(0.0f);
        }
      }
    }
  }
  return packs;
}

template <class L>
KILN_DEVICE float sum_of_squares(const Packs<L>& packs) {
  float sum = 0.0f;
#pragma unroll
  for (int p = 0; p < L::kPacks; ++p) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) sum = fma(packs.values[p][i], packs.values[p][i], sum);
  }
  return sum;
}

// What a block's threads have in shared memory.
struct BlockMemory {
  Shared<float> sums;      // of warps
  Shared<float> largest;   // of warps, for a scale
  Shared<float> exchange;  // the values of all packs, for NeoX
};

// The sum over the thread's group, or the largest of it, by one value of each warp in `partial`.
// All threads of the block call it, once for each array.
struct Add {
  KILN_DEVICE float operator()(float a, float b) const { return a + b; }
  template <int width>
  KILN_DEVICE static float over(float x) {
    return group_sum<width>(x);
  }
};
struct Larger {
  KILN_DEVICE float operator()(float a, float b) const { return max(a, b); }
  template <int width>
  KILN_DEVICE static float over(float x) {
    return group_max<width>(x);
  }
};
template <class L, class Join>
KILN_DEVICE float over_group(float own, const Shared<float>& partial, Join join) {
  if constexpr (L::kGroup <= warp_size) {
    return Join::template over<L::kGroup>(own);
  } else {
    const float of_warp = Join::template over<warp_size>(own);
    const int own_warp = warp();  // a warp operation: by all lanes
    if (lane() == 0) partial[own_warp] = of_warp;
    block_barrier();
    constexpr int kGroupWarps = L::kGroup / warp_size;
    const int first = own_warp / kGroupWarps * kGroupWarps;
    float all = partial.load(first);
#pragma unroll
    for (int w = 1; w < kGroupWarps; ++w) all = join(all, partial.load(first + w));
    return all;
  }
}

// Which row of the tables a row of q and k takes; below 0 where there is none.
KILN_DEVICE i64 table_row(const QkRmsnormParams& p, i64 row) {
  const i64 at = row * p.rope.positions_stride;
  const i64 position =
      p.rope.wide_positions != 0
          ? Global<const i64>(static_cast<const i64*>(p.rope.positions)).load(at)
          : i64{Global<const i32>(static_cast<const i32*>(p.rope.positions)).load(at)};
  return position < p.rope.table_rows ? position : -1;
}

struct Rotation {
  float cos, sin;
};
KILN_DEVICE Rotation rotation_of(const QkRmsnormParams& p, i64 table_row, int i) {
  const Global<const Table> cos(static_cast<const Table*>(p.rope.cos));
  const Global<const Table> sin(static_cast<const Table*>(p.rope.sin));
  return {to_float(cos.load(table_row * p.rope.cos_row_stride + i)),
          to_float(sin.load(table_row * p.rope.sin_row_stride + i))};
}

// Neighbours 2i and 2i + 1 are a pair, and in one pack.
template <class L>
KILN_DEVICE void rotate_neighbours(const QkRmsnormParams& p, i64 table_row, Packs<L>& packs) {
#pragma unroll
  for (int n = 0; n < L::kPacks; ++n) {
    float(&pack)[kPack] = packs.values[n];
#pragma unroll
    for (int i = 0; i < kPack; i += 2) {
      const int pair = (pack_begin<L>(n) + i) / 2;
      if (pair >= kHalf) continue;
      const Rotation by = rotation_of(p, table_row, pair);
      const float low = pack[i], high = pack[i + 1];
      pack[i] = low * by.cos - high * by.sin;
      pack[i + 1] = high * by.cos + low * by.sin;
    }
  }
}

// i and i + kHalf are a pair. All threads of the block call it; those without a row do not rotate.
template <class L>
KILN_DEVICE void rotate_halves(const QkRmsnormParams& p, i64 table_row, bool active,
                               const Shared<float>& exchange, Packs<L>& packs) {
  const int vector = thread_rank() / L::kGroup * (L::kPacks * L::kGroup * kPack);
#pragma unroll
  for (int n = 0; n < L::kPacks; ++n) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      exchange[vector + pack_begin<L>(n) + i] = packs.values[n][i];
    }
  }
  block_barrier();
  if (!active) return;
#pragma unroll
  for (int n = 0; n < L::kPacks; ++n) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const int at = pack_begin<L>(n) + i;
      if (at >= 2 * kHalf) continue;
      const bool low = at < kHalf;
      const Rotation by = rotation_of(p, table_row, low ? at : at - kHalf);
      const float partner = exchange.load(vector + (low ? at + kHalf : at - kHalf));
      const float own = packs.values[n][i];
      packs.values[n][i] = own * by.cos + (low ? -partner : partner) * by.sin;
    }
  }
}

template <class L>
KILN_DEVICE void rotate(const QkRmsnormParams& p, i64 row, bool active, const BlockMemory& memory,
                        Packs<L>& packs) {
  const i64 from = active ? table_row(p, row) : -1;
  if (from < 0) packs = {};
  if constexpr (shape::rope_is::neox) {
    rotate_halves(p, from, from >= 0, memory.exchange, packs);
  } else if (from >= 0) {
    rotate_neighbours(p, from, packs);
  }
}

template <class L>
KILN_DEVICE float largest_of(const float (&pack)[kPack]) {
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < kPack; ++i) largest = max(largest, abs(pack[i]));
  return largest;
}

KILN_DEVICE float scale_of(float largest) {
  return divide(max(largest, kQkRmsnormAmaxMin), kE4m3Max);
}

template <class L>
KILN_DEVICE void store_quantised(const Global<u8>& vector, int begin, const float (&pack)[kPack],
                                 float scale) {
  Vec<u8, kPack> raw;
#pragma unroll
  for (int i = 0; i < kPack; ++i) raw[i] = static_cast<u8>(e4m3_bits(divide(pack[i], scale)));
  if (begin >= L::kSize) return;
  if (is_whole<L>(begin) && vector.aligned(begin, kPack)) {
    vector.store_vector<kPack>(begin, raw);
    return;
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (begin + i < L::kSize) vector.store(begin + i, raw[i]);
  }
}

// All threads of the block call it; those without a row store nothing.
template <class L, int group>
KILN_DEVICE void quantise(const QkRmsnormParams& p, i64 row, i64 head, bool active,
                          const BlockMemory& memory, const Packs<L>& packs) {
  const Global<u8> out(static_cast<u8*>(p.q.out) + row * p.q.out_row_stride +
                       head * p.q.out_head_stride);
  const Global<float> scales(p.scales.data + row * p.scales.row_stride +
                             head * p.scales.head_stride);
  float whole = 0.0f;
  if constexpr (group == L::kSize) {
#pragma unroll
    for (int n = 0; n < L::kPacks; ++n) whole = max(whole, largest_of<L>(packs.values[n]));
    whole = scale_of(over_group<L>(whole, memory.largest, Larger{}));
    if (active && thread_rank() % L::kGroup == 0) scales.store(0, whole);
  }
#pragma unroll
  for (int n = 0; n < L::kPacks; ++n) {
    const int begin = pack_begin<L>(n);
    float scale = whole;
    if constexpr (group != L::kSize) {
      scale = scale_of(group_max<group / kPack>(largest_of<L>(packs.values[n])));
      if (active && begin < L::kSize && begin % group == 0) {
        scales.store(begin / group * p.scales.group_stride, scale);
      }
    }
    if (active) store_quantised<L>(out, begin, packs.values[n], scale);
  }
}

template <class L>
KILN_DEVICE void scale_packs(Packs<L>& packs, const WeightPacks<L>& weights, float factor) {
#pragma unroll
  for (int p = 0; p < L::kPacks; ++p) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      float weight = to_float(weights.values[p][i]);
      if constexpr (shape::weight_bias) weight += 1.0f;
      packs.values[p][i] = packs.values[p][i] * factor * weight;
    }
  }
}

// Norms the vectors that block number `block` of this side has.
template <class L, int group>
KILN_DEVICE void norm_block(const QkRmsnormParams& p, const QkRmsnormParams::Side& side, i64 block,
                            const BlockMemory& memory) {
  const WeightPacks<L> weights = load_weights<L>(side.weight);  // which no kernel writes
  dependency_wait();
  launch_dependents();
  const i64 vector = block * L::kVectors + thread_rank() / L::kGroup;
  const i64 row = vector / side.heads;
  const i64 head = vector % side.heads;
  // The last block may have threads to spare; they go along, since the sums need all.
  const bool active = row < p.rows;
  Packs<L> packs = {};
  if (active) {
    packs = load_packs<L>(Global<const Io>(static_cast<const Io*>(side.in) +
                                           row * side.in_row_stride + head * side.in_head_stride));
  }
  const float sum = over_group<L>(sum_of_squares(packs), memory.sums, Add{});
  scale_packs(packs, weights, rsqrt(divide(sum, static_cast<float>(L::kSize)) + side.eps));
  if constexpr (kRotates) rotate(p, row, active, memory, packs);
  if constexpr (group > 0) {
    quantise<L, group>(p, row, head, active, memory, packs);
  } else if (active) {
    store_packs<L>(Global<Io>(static_cast<Io*>(side.out) + row * side.out_row_stride +
                              head * side.out_head_stride),
                   packs);
  }
}

// Floats that the packs of a block hold, if they are exchanged.
template <class L>
constexpr int kExchanged = shape::rope_is::neox ? kThreads* L::kPacks* kPack : 1;

}  // namespace qk_rmsnorm_detail

// Grid: x counts the blocks of q, then those of k. Block: 256 threads.
KILN_KERNEL(256, 2) qk_rmsnorm_packs(KILN_PARAMS(QkRmsnormParams) p) {
  using namespace qk_rmsnorm_detail;
  using Q = Layout<shape::Nq>;
  using K = Layout<shape::Nk>;
  KILN_SHARED(float, sums, kWarps);
  KILN_SHARED(float, largest, kWarps);
  KILN_SHARED(float, exchange, max(kExchanged<Q>, kExchanged<K>));
  const BlockMemory memory{sums, largest, exchange};
  const i64 block = block_idx().x;
  const i64 q_vectors = static_cast<i64>(p.rows) * p.q.heads;
  const i64 q_blocks = ceil_div(q_vectors, static_cast<i64>(Q::kVectors));
  if (block < q_blocks) {
    norm_block<Q, shape::q_group>(p, p.q, block, memory);
  } else {
    norm_block<K, 0>(p, p.k, block - q_blocks, memory);
  }
}

}  // namespace kiln
