// SPDX-License-Identifier: Apache-2.0
// router_gemm for up to 8 tokens: a block per expert, whose threads share out K. A thread asks for
// all its share of W (as far as registers go) before it waits for the kernel that writes the
// tokens, so what is left after that wait is the tokens' own latency.
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "kiln/warp.h"
#include "router_gemm/gate_kernel.h"
#include "router_gemm/rows.h"

namespace kiln {
namespace router_gemm_detail {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / warp_size;
constexpr int kStep = kThreads * kPack;
constexpr int kSteps = ceil_div(shape::K, kStep);
constexpr int kAhead = min(kSteps, 8);  // packs of W held at once: 32 registers

KILN_DEVICE int step_begin(int step) {
  return step * kStep + thread_rank() * kPack;
}

KILN_DEVICE Pack load_weights(const Global<const Io>& row, int step) {
  const int k = step_begin(step);
  return k < shape::K ? row.load_vector<kPack, Cache::readonly>(k) : zeros();
}

template <int tokens>
KILN_DEVICE void add_products(const RouterGemmParams& p, const Pack& w, int step,
                              float (&sums)[tokens]) {
  const int k = step_begin(step);
  if (k >= shape::K) return;
#pragma unroll
  for (int t = 0; t < tokens; ++t) {
    const Pack a = token_row(p, t).template load_vector<kPack>(k);
#pragma unroll
    for (int i = 0; i < kPack; ++i) sums[t] = fma(to_float(a[i]), to_float(w[i]), sums[t]);
  }
}

// The outputs of one expert and up to `tokens` tokens, by all threads of the block.
template <int tokens>
KILN_DEVICE void block_expert(const RouterGemmParams& p, const Shared<float>& partial,
                              const Shared<u32>& flag) {
  const int expert = static_cast<int>(block_idx().x);
  const Global<const Io> w = expert_row(p, expert);
  Pack ahead[kAhead];
#pragma unroll
  for (int step = 0; step < kAhead; ++step) ahead[step] = load_weights(w, step);
  dependency_wait();
  launch_dependents();
  float sums[tokens] = {};
#pragma unroll
  for (int step = 0; step < kAhead; ++step) add_products(p, ahead[step], step, sums);
#pragma unroll 1
  for (int step = kAhead; step < kSteps; ++step) {
    add_products(p, load_weights(w, step), step, sums);
  }
  const float of_warp = group_sum_scattered<warp_size>(sums, lane());
  const int own_warp = warp();  // a warp operation: by all lanes
  if (lane() < tokens) partial[own_warp * tokens + lane()] = of_warp;
  block_barrier();
  if (thread_rank() < tokens) {
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) total += partial.load(i * tokens + thread_rank());
    store_output(p, expert, thread_rank(), total);
  }
  finish_gate<kWarps>(p, static_cast<u32>(shape::N), flag);
}

}  // namespace router_gemm_detail

// Grid: x counts the experts. Block: 128 threads. Each entry point takes as many tokens as it says,
// or fewer.
KILN_KERNEL(128, 4) router_gemm_1_token(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  KILN_SHARED(float, partial, kWarps);
  KILN_SHARED(u32, flag, 1);
  block_expert<1>(p, partial, flag);
}
KILN_KERNEL(128, 4) router_gemm_4_tokens(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  KILN_SHARED(float, partial, kWarps * 4);
  KILN_SHARED(u32, flag, 1);
  block_expert<4>(p, partial, flag);
}
KILN_KERNEL(128, 4) router_gemm_8_tokens(KILN_PARAMS(RouterGemmParams) p) {
  using namespace router_gemm_detail;
  KILN_SHARED(float, partial, kWarps * 8);
  KILN_SHARED(u32, flag, 1);
  block_expert<8>(p, partial, flag);
}

}  // namespace kiln
