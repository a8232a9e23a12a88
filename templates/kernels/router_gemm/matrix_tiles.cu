// SPDX-License-Identifier: Apache-2.0
// router_gemm by matrix instructions, with W as their A and the tokens as their B. The order of K
// does not matter to a sum as long as both agree on it, so a lane loads 16 bytes of its row at once
// and takes them for its elements of two instructions: no element passes through shared memory.
// Warps, and given a workspace blocks, share out K; the block that arrives last adds up in a fixed
// order, so the same call gives the same bits.
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/mma.h"
#include "router_gemm/gate_kernel.h"
#include "router_gemm/rows.h"

namespace kiln {
namespace router_gemm_detail {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / warp_size;
constexpr int kRows = 16;  // of W in one instruction
constexpr int kStep = 32;  // of K: two instructions of 16
constexpr int kSteps = ceil_div(shape::K, kStep);

#if KILN_WARP_SIZE == 32

constexpr int kTokenStep = 8;   // tokens in one instruction
constexpr int kSums = 4;        // that a lane holds of them
constexpr int kWeightRows = 2;  // that a lane loads of
KILN_DEVICE int row_of_lane() {
  return lane() / 4;
}
KILN_DEVICE int depth_of_lane() {
  return lane() % 4 * kPack;
}

using Sums = MmaC;
KILN_DEVICE MatrixWord along_row(const Pack& pack, int first, int row, int column) {
  return matrix_word(matrix_element(pack[first], row, column),
                     matrix_element(pack[first + 1], row, column + 1));
}
KILN_DEVICE MatrixWord along_column(const Pack& pack, int first, int row, int column) {
  return matrix_word(matrix_element(pack[first], row, column),
                     matrix_element(pack[first + 1], row + 1, column));
}
KILN_DEVICE Sums multiply(const Pack (&w)[kWeightRows], const Pack& a, const Sums& sums) {
  Sums result = sums;
#pragma unroll
  for (int half = 0; half < kPack; half += 4) {
    MmaA left;
    MmaB right;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      left.words[i] = along_row(w[i % 2], half + i / 2 * 2, MmaA::row(i), MmaA::column(i));
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      right.words[i] = along_column(a, half + i * 2, MmaB::row(i), MmaB::column(i));
    }
    result = mma_m16n8k16<Io>(left, right, result);
  }
  return result;
}

#else

constexpr int kTokenStep = 16;
constexpr int kSums = 4;
constexpr int kWeightRows = 1;
KILN_DEVICE int row_of_lane() {
  return lane() % 16;
}
KILN_DEVICE int depth_of_lane() {
  return lane() / 16 * kPack;
}

using Sums = MfmaC<16>;
KILN_DEVICE Sums multiply(const Pack (&w)[kWeightRows], const Pack& a, const Sums& sums) {
  Sums result = sums;
#pragma unroll
  for (int half = 0; half < kPack; half += 4) {
    MfmaA<16> left;
    MfmaB<16> right;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int first = half + i * 2;
      const int row = MfmaA<16>::row(i), depth = MfmaA<16>::column(i);
      left.words[i] = matrix_word(matrix_element(w[0][first], row, depth),
                                  matrix_element(w[0][first + 1], row, depth + 1));
      const int k = MfmaB<16>::row(i), column = MfmaB<16>::column(i);
      right.words[i] = matrix_word(matrix_element(a[first], k, column),
                                   matrix_element(a[first + 1], k + 1, column));
    }
    result = mfma_16x16x16(left, right, result);
  }
  return result;
}

#endif

// What a block makes: its warps stand in `expert_warps` rows of 16 experts, and those of one row
// share out K.
template <int experts, int tokens>
struct Tile {
  static constexpr int kExperts = experts;
  static constexpr int kTokens = tokens;
  static constexpr int kExpertWarps = experts / kRows;
  static constexpr int kDepthWarps = kWarps / kExpertWarps;
  static constexpr int kParts = tokens / kTokenStep;  // instructions side by side
  static constexpr int kOutputs = experts * tokens;
  static constexpr int kAhead = kParts > 2 ? 2 : 4;  // steps of W under way, as registers allow
};

KILN_DEVICE void load_weights(const RouterGemmParams& p, int expert, int step, int end,
                              Pack (&packs)[kWeightRows]) {
  const int k = step * kStep + depth_of_lane();
#pragma unroll
  for (int r = 0; r < kWeightRows; ++r) {
    packs[r] = step < end && k < shape::K ? expert_row(p, expert + row_of_lane() + r * 8)
                                                .template load_vector<kPack, Cache::readonly>(k)
                                          : zeros();
  }
}

// Sums of this warp over its steps of K from `step` to `end`.
template <class T>
KILN_DEVICE void add_products(const RouterGemmParams& p, int expert, i64 token, int step, int end,
                              Sums (&sums)[T::kParts]) {
  Pack weights[T::kAhead][kWeightRows];
#pragma unroll
  for (int i = 0; i < T::kAhead; ++i) load_weights(p, expert, step + i, end, weights[i]);
  dependency_wait();
  launch_dependents();
#pragma unroll 1
  for (; step < end; step += T::kAhead) {
#pragma unroll
    for (int i = 0; i < T::kAhead; ++i) {
      if (step + i >= end) break;  // the tokens may hold what zero weights do not make zero
      const int k = (step + i) * kStep + depth_of_lane();
#pragma unroll
      for (int part = 0; part < T::kParts; ++part) {
        const i64 row = token + part * kTokenStep + row_of_lane();
        const Pack a = k < shape::K ? token_row(p, row).template load_vector<kPack>(k) : zeros();
        sums[part] = multiply(weights[i], a, sums[part]);
      }
      load_weights(p, expert, step + i + T::kAhead, end, weights[i]);
    }
  }
}

// The warp's sums to shared memory: [depth warps][tokens][experts].
template <class T>
KILN_DEVICE void put_sums(Sums (&sums)[T::kParts], int expert_warp, int depth_warp,
                          const Shared<float>& partial) {
#pragma unroll
  for (int part = 0; part < T::kParts; ++part) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int row = Sums::row(i), column = Sums::column(i);
      const int token = part * kTokenStep + column;
      partial[(depth_warp * T::kTokens + token) * T::kExperts + expert_warp * kRows + row] =
          sums[part].at(i, row, column);
    }
  }
}

template <class T>
KILN_DEVICE float block_sum(const Shared<float>& partial, int output) {
  float sum = 0.0f;
#pragma unroll
  for (int w = 0; w < T::kDepthWarps; ++w) sum += partial.load(w * T::kOutputs + output);
  return sum;
}

// The place in the workspace of one output of one split.
KILN_DEVICE i64 partial_index(const RouterGemmParams& p, int split, i64 token, int expert) {
  return kRouterGemmCounters + (static_cast<i64>(split) * p.tokens + token) * shape::N + expert;
}

// Outputs from the sums of all blocks that share out this tile's K; false in those that leave the
// rest to another.
template <class T>
KILN_DEVICE bool store_tile(const RouterGemmParams& p, int expert, i64 token,
                            const Shared<float>& partial, const Shared<u32>& flag) {
  const int splits = static_cast<int>(grid_dim().y);
  if (splits == 1) {
    for (int i = thread_rank(); i < T::kOutputs; i += kThreads) {
      store_output(p, expert + i % T::kExperts, token + i / T::kExperts, block_sum<T>(partial, i));
    }
    return true;
  }
  const Global<float> sums(p.workspace);
  const auto is_output = [&](int i) {
    return expert + i % T::kExperts < shape::N && token + i / T::kExperts < p.tokens;
  };
  for (int i = thread_rank(); i < T::kOutputs; i += kThreads) {
    if (!is_output(i)) continue;
    sums.store(partial_index(p, static_cast<int>(block_idx().y), token + i / T::kExperts,
                             expert + i % T::kExperts),
               block_sum<T>(partial, i));
  }
  // Counter 0 is the gate's.
  if (!arrives_last(p, 1 + static_cast<int>(block_idx().x), static_cast<u32>(splits), flag)) {
    return false;
  }
  for (int i = thread_rank(); i < T::kOutputs; i += kThreads) {
    if (!is_output(i)) continue;
    const i64 m = token + i / T::kExperts;
    const int n = expert + i % T::kExperts;
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += sums.load(partial_index(p, split, m, n));
    store_output(p, n, m, sum);
  }
  return true;
}

template <class T>
KILN_DEVICE bool block_tile(const RouterGemmParams& p, const Shared<float>& partial,
                            const Shared<u32>& flag) {
  constexpr int kExpertTiles = ceil_div(shape::N, T::kExperts);
  const int expert = static_cast<int>(block_idx().x % kExpertTiles) * T::kExperts;
  const i64 token = static_cast<i64>(block_idx().x / kExpertTiles) * T::kTokens;
  const int own_warp = warp();
  const int expert_warp = own_warp % T::kExpertWarps;
  const int depth_warp = own_warp / T::kExpertWarps;
  const int sharers = static_cast<int>(grid_dim().y) * T::kDepthWarps;
  const int sharer = static_cast<int>(block_idx().y) * T::kDepthWarps + depth_warp;
  const int begin = static_cast<int>(static_cast<i64>(kSteps) * sharer / sharers);
  const int end = static_cast<int>(static_cast<i64>(kSteps) * (sharer + 1) / sharers);
  Sums sums[T::kParts] = {};
  add_products<T>(p, expert + expert_warp * kRows, token, begin, end, sums);
  put_sums<T>(sums, expert_warp, depth_warp, partial);
  block_barrier();
  return store_tile<T>(p, expert, token, partial, flag);
}

}  // namespace router_gemm_detail

// Grid: x counts tiles, those of the same tokens first; y counts the blocks that share out K.
// Block: 256 threads.
KILN_KERNEL(256, 2) router_gemm_matrix_few(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  using T = Tile<kRouterGemmMatrixFew.experts, kRouterGemmMatrixFew.tokens>;
  KILN_SHARED(float, partial, T::kDepthWarps* T::kOutputs);
  KILN_SHARED(u32, flag, 1);
  if (!block_tile<T>(p, partial, flag)) return;
  finish_gate<kWarps>(p, static_cast<u32>(ceil_div(shape::N, T::kExperts)), flag);
}

KILN_KERNEL(256, 1) router_gemm_matrix_some(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  using T = Tile<kRouterGemmMatrixSome.experts, kRouterGemmMatrixSome.tokens>;
  KILN_SHARED(float, partial, T::kDepthWarps* T::kOutputs);
  KILN_SHARED(u32, flag, 1);
  block_tile<T>(p, partial, flag);
}

KILN_KERNEL(256, 1) router_gemm_matrix_many(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  using T = Tile<kRouterGemmMatrixMany.experts, kRouterGemmMatrixMany.tokens>;
  KILN_SHARED(float, partial, T::kDepthWarps* T::kOutputs);
  KILN_SHARED(u32, flag, 1);
  block_tile<T>(p, partial, flag);
}

}  // namespace kiln
