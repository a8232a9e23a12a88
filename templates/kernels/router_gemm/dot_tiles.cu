// SPDX-License-Identifier: Apache-2.0
// router_gemm by dot products: lanes share out K in packs of 8 elements, each holds a sum for every
// output of its tile, and shuffles add them up. With few tokens a block makes the tile of one
// expert, so that every row of W is read at once by all of the chip; with many, a warp makes a
// larger one, which reads W and A less often.
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/dependent_launch.h"
#include "kiln/global.h"
#include "kiln/kernel.h"
#include "kiln/lanes.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "router_gemm/gate_kernel.h"
#include "router_gemm/params.h"
#include "router_gemm/tiles.h"

namespace kiln {
namespace router_gemm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Out = StorageType<shape::out_is::bf16, shape::out_is::f16>;
using Bias = StorageType<shape::bias_is::bf16, shape::bias_is::f16>;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kPack = 8;  // elements; 16 bytes
using Pack = Vec<Io, kPack>;

// Experts and tokens of a tile, and how many lanes share its sums.
template <int experts, int tokens, int lanes>
struct Tile {
  static constexpr int kExperts = experts;
  static constexpr int kTokens = tokens;
  static constexpr int kLanes = lanes;
  static constexpr int kOutputs = experts * tokens;
};

// The rows that a tile multiplies. Those beyond the last are the last one again: what comes of
// them is not stored.
template <class T>
struct Rows {
  const Io* w[T::kExperts];
  const Io* a[T::kTokens];
};

template <class T>
KILN_DEVICE Rows<T> rows_of(const RouterGemmParams& p, int expert, i64 token) {
  Rows<T> rows;
#pragma unroll
  for (int e = 0; e < T::kExperts; ++e) {
    rows.w[e] = static_cast<const Io*>(p.w) + min(expert + e, shape::N - 1) * p.w_row_stride;
  }
#pragma unroll
  for (int t = 0; t < T::kTokens; ++t) {
    rows.a[t] = static_cast<const Io*>(p.a) +
                min(token + t, static_cast<i64>(p.tokens) - 1) * p.a_row_stride;
  }
  return rows;
}

KILN_DEVICE Pack load_elements(const Global<const Io>& row, int k) {
  Pack pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    pack[i] = k + i < shape::K ? row.load(k + i) : from_float<Io>(0.0f);
  }
  return pack;
}

// Elements k to k + 8; zeros beyond the end of the row.
KILN_DEVICE Pack load_pack(const Io* data, int k) {
  const Global<const Io> row(data);
  if constexpr (shape::K % kPack == 0) {
    return row.load_vector<kPack>(k);
  } else {
    return k + kPack <= shape::K ? row.load_vector<kPack>(k) : load_elements(row, k);
  }
}

// Adds this lane's share of the tile's sums; output (expert e, token t) is number t * kExperts + e.
template <class T>
KILN_DEVICE void add_products(const Rows<T>& rows, int lane_of_tile, float (&sums)[T::kOutputs]) {
  constexpr int kStep = T::kLanes * kPack;
  // Large tiles have loads enough in one step to keep the memory busy.
  constexpr int kSteps = T::kOutputs <= 4 ? 4 : 1;
#pragma unroll kSteps
  for (int k = lane_of_tile * kPack; k < shape::K; k += kStep) {
    Pack w[T::kExperts];
#pragma unroll
    for (int e = 0; e < T::kExperts; ++e) w[e] = load_pack(rows.w[e], k);
#pragma unroll
    for (int t = 0; t < T::kTokens; ++t) {
      const Pack a = load_pack(rows.a[t], k);
#pragma unroll
      for (int e = 0; e < T::kExperts; ++e) {
        float& sum = sums[t * T::kExperts + e];
#pragma unroll
        for (int i = 0; i < kPack; ++i) sum = fma(to_float(a[i]), to_float(w[e][i]), sum);
      }
    }
  }
}

// The same where rows begin at any address: the same products in the same order, one element at a
// time. It is rare, and a loop this small compiles in a tenth of the time of one over packs.
template <class T>
KILN_DEVICE void add_products_of_elements(const Rows<T>& rows, int lane_of_tile,
                                          float (&sums)[T::kOutputs]) {
#pragma unroll 1
  for (int k = lane_of_tile * kPack; k < shape::K; k += T::kLanes * kPack) {
    const int end = min(k + kPack, shape::K);
#pragma unroll 1
    for (int i = k; i < end; ++i) {
      float w[T::kExperts];
#pragma unroll
      for (int e = 0; e < T::kExperts; ++e) w[e] = to_float(Global<const Io>(rows.w[e]).load(i));
#pragma unroll
      for (int t = 0; t < T::kTokens; ++t) {
        const float a = to_float(Global<const Io>(rows.a[t]).load(i));
#pragma unroll
        for (int e = 0; e < T::kExperts; ++e) {
          sums[t * T::kExperts + e] = fma(a, w[e], sums[t * T::kExperts + e]);
        }
      }
    }
  }
}

// Sums over the warp: lane l gets that of output l % outputs. Eight at a time, since compilers keep
// larger arrays in memory.
template <int outputs>
KILN_DEVICE float add_up(const float (&sums)[outputs]) {
  constexpr int kAtOnce = min(outputs, 8);
  float own = 0.0f;
#pragma unroll
  for (int first = 0; first < outputs; first += kAtOnce) {
    float some[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) some[i] = sums[first + i];
    const float sum = group_sum_scattered<warp_size>(some, lane());
    if (lane() % outputs / kAtOnce * kAtOnce == first) own = sum;
  }
  return own;
}

// The warp's share of the tile's outputs: lane l gets that of output l % kOutputs.
template <class T>
KILN_DEVICE float warp_sum(const RouterGemmParams& p, int expert, i64 token, int lane_of_tile) {
  const Rows<T> rows = rows_of<T>(p, expert, token);
  float sums[T::kOutputs] = {};
  // Rows begin at multiples of a pack if the first one does and the strides are such multiples.
  const bool packs = Global<const Io>(static_cast<const Io*>(p.w)).aligned(0, sizeof(Pack)) &&
                     Global<const Io>(static_cast<const Io*>(p.a)).aligned(0, sizeof(Pack)) &&
                     p.w_row_stride % kPack == 0 && p.a_row_stride % kPack == 0;
  if (packs) {
    add_products<T>(rows, lane_of_tile, sums);
  } else {
    add_products_of_elements<T>(rows, lane_of_tile, sums);
  }
  return add_up(sums);
}

template <class T>
KILN_DEVICE void store_output(const RouterGemmParams& p, int expert, i64 token, int output,
                              float sum) {
  const int n = expert + output % T::kExperts;
  const i64 m = token + output / T::kExperts;
  if (n >= shape::N || m >= p.tokens) return;
  if constexpr (!shape::bias_is::none) {
    sum += to_float(Global<const Bias>(static_cast<const Bias*>(p.bias)).load(n));
  }
  Global<Out>(static_cast<Out*>(p.out)).store(m * p.out_row_stride + n, from_float<Out>(sum));
}

// One tile by all threads of the block.
template <class T>
KILN_DEVICE void block_tile(const RouterGemmParams& p, const Shared<float>& partial) {
  static_assert(T::kLanes == kThreads, "the block shares out K");
  constexpr int kExpertTiles = ceil_div(shape::N, T::kExperts);
  const int expert = static_cast<int>(block_idx().x % kExpertTiles) * T::kExperts;
  const i64 token = static_cast<i64>(block_idx().x / kExpertTiles) * T::kTokens;
  const float sum = warp_sum<T>(p, expert, token, thread_rank());
  const int own_warp = warp();  // a warp operation: by all lanes
  if (lane() < T::kOutputs) partial[own_warp * T::kOutputs + lane()] = sum;
  block_barrier();
  if (thread_rank() >= T::kOutputs) return;
  float total = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += partial.load(w * T::kOutputs + thread_rank());
  store_output<T>(p, expert, token, thread_rank(), total);
}

}  // namespace router_gemm_detail

// Grid of the first two: x counts the tiles, those of the same tokens first. Block: 128 threads.
KILN_KERNEL(128, 4) router_gemm_one_token(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  KILN_SHARED(float, partial, kWarps);
  dependency_wait();
  launch_dependents();
  block_tile<Tile<kRouterGemmOneToken.experts, kRouterGemmOneToken.tokens, kThreads>>(p, partial);
}

KILN_KERNEL(128, 4) router_gemm_few_tokens(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  using T = Tile<kRouterGemmFewTokens.experts, kRouterGemmFewTokens.tokens, kThreads>;
  KILN_SHARED(float, partial, kWarps* T::kOutputs);
  dependency_wait();
  launch_dependents();
  block_tile<T>(p, partial);
}

// Grid: x counts groups of kRouterGemmManyTilesPerBlock tiles. Block: 128 threads.
KILN_KERNEL(128, 3) router_gemm_many_tokens(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  using T = Tile<kRouterGemmManyTokens.experts, kRouterGemmManyTokens.tokens, warp_size>;
  constexpr int kExpertTiles = ceil_div(shape::N, T::kExperts);
  dependency_wait();
  launch_dependents();
  for (int i = warp(); i < kRouterGemmManyTilesPerBlock; i += kWarps) {
    const i64 tile = static_cast<i64>(block_idx().x) * kRouterGemmManyTilesPerBlock + i;
    const int expert = static_cast<int>(tile % kExpertTiles) * T::kExperts;
    const i64 token = tile / kExpertTiles * T::kTokens;
    if (token >= p.tokens) return;  // the last block may have tiles to spare
    const float sum = warp_sum<T>(p, expert, token, lane());
    if (lane() < T::kOutputs) store_output<T>(p, expert, token, lane(), sum);
  }
}

}  // namespace kiln
