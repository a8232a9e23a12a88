// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm with each vector in registers: a group of threads holds it in packs of 8 elements, so
// it is read once and written once. Groups of up to a warp add up by shuffles alone; larger ones
// through shared memory. The first blocks of the grid do q, the others k.
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
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

// The sum over the thread's group. All threads of the block call it, once.
template <class L>
KILN_DEVICE float sum_over_group(float own, const Shared<float>& partial) {
  if constexpr (L::kGroup <= warp_size) {
    return group_sum<L::kGroup>(own);
  } else {
    const float of_warp = group_sum(own);
    const int own_warp = warp();  // a warp operation: by all lanes
    if (lane() == 0) partial[own_warp] = of_warp;
    block_barrier();
    constexpr int kGroupWarps = L::kGroup / warp_size;
    const int first = own_warp / kGroupWarps * kGroupWarps;
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kGroupWarps; ++w) sum += partial.load(first + w);
    return sum;
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
template <class L>
KILN_DEVICE void norm_block(const QkRmsnormParams::Side& side, int rows, i64 block,
                            const Shared<float>& partial) {
  const WeightPacks<L> weights = load_weights<L>(side.weight);  // which no kernel writes
  dependency_wait();
  launch_dependents();
  const i64 vector = block * L::kVectors + thread_rank() / L::kGroup;
  const i64 row = vector / side.heads;
  const i64 head = vector % side.heads;
  // The last block may have threads to spare; they go along, since the sums need all.
  const bool active = row < rows;
  Packs<L> packs = {};
  if (active) {
    packs = load_packs<L>(Global<const Io>(static_cast<const Io*>(side.in) +
                                           row * side.in_row_stride + head * side.in_head_stride));
  }
  const float sum = sum_over_group<L>(sum_of_squares(packs), partial);
  if (!active) return;
  scale_packs(packs, weights, rsqrt(divide(sum, static_cast<float>(L::kSize)) + side.eps));
  store_packs<L>(Global<Io>(static_cast<Io*>(side.out) + row * side.out_row_stride +
                            head * side.out_head_stride),
                 packs);
}

}  // namespace qk_rmsnorm_detail

// Grid: x counts the blocks of q, then those of k. Block: 256 threads.
KILN_KERNEL(256, 2) qk_rmsnorm_packs(KILN_PARAMS(QkRmsnormParams) p) {
  using namespace qk_rmsnorm_detail;
  using Q = Layout<shape::Nq>;
  using K = Layout<shape::Nk>;
  KILN_SHARED(float, partial, kWarps);
  const i64 block = block_idx().x;
  const i64 q_vectors = static_cast<i64>(p.rows) * p.q.heads;
  const i64 q_blocks = ceil_div(q_vectors, static_cast<i64>(Q::kVectors));
  if (block < q_blocks) {
    norm_block<Q>(p.q, p.rows, block, partial);
  } else {
    norm_block<K>(p.k, p.rows, block - q_blocks, partial);
  }
}

}  // namespace kiln
