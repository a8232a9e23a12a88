// SPDX-License-Identifier: Apache-2.0
// What the implementations for aligned rows have in common: packs of 8 elements, outputs, and the
// block that arrives last.
#pragma once

#include "kiln/atomic.h"
#include "kiln/barrier.h"
#include "kiln/convert.h"
#include "kiln/global.h"
#include "kiln/shape.h"
#include "kiln/shared.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "router_gemm/gate.h"
#include "router_gemm/params.h"
#include "router_gemm/tiles.h"

namespace kiln {
namespace router_gemm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Out = StorageType<shape::out_is::bf16, shape::out_is::f16>;
using Bias = StorageType<shape::bias_is::bf16, shape::bias_is::f16>;

constexpr int kPack = 8;  // elements; 16 bytes
using Pack = Vec<Io, kPack>;
static_assert(shape::K % kPack == 0, "rows are whole packs");

KILN_DEVICE Pack zeros() {
  Pack pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) pack[i] = Io{0};
  return pack;
}

// Rows beyond the last are the last one again: what comes of them is not stored.
KILN_DEVICE Global<const Io> expert_row(const RouterGemmParams& p, int expert) {
  return Global<const Io>(static_cast<const Io*>(p.w) + min(expert, shape::N - 1) * p.w_row_stride);
}
KILN_DEVICE Global<const Io> token_row(const RouterGemmParams& p, i64 token) {
  return Global<const Io>(static_cast<const Io*>(p.a) +
                          min(token, static_cast<i64>(p.tokens) - 1) * p.a_row_stride);
}

KILN_DEVICE void store_output(const RouterGemmParams& p, int expert, i64 token, float sum) {
  if (expert >= shape::N || token >= p.tokens) return;
  if constexpr (!shape::bias_is::none) {
    sum += to_float(Global<const Bias>(static_cast<const Bias*>(p.bias)).load(expert));
  }
  Global<Out>(static_cast<Out*>(p.out))
      .store(token * p.out_row_stride + expert, from_float<Out>(sum));
}

// Whether this block is the last of `blocks` that come here with the same counter: what they all
// wrote before can then be read. All threads call it. It leaves the counter zero.
KILN_DEVICE bool arrives_last(const RouterGemmParams& p, int counter, u32 blocks,
                              const Shared<u32>& flag) {
  const Global<u32> counters(reinterpret_cast<u32*>(p.workspace));
  device_fence();
  block_barrier();
  if (thread_rank() == 0) {
    const bool last = atomic_add(counters, counter, u32{1}) == blocks - 1;
    if (last) counters.store(counter, 0);
    flag[0] = last ? 1u : 0u;
  }
  block_barrier();
  const bool last = flag.load(0) != 0;
  if (last) device_fence();
  return last;
}

// The gate in the same launch, by the block that arrives last: counter 0 of the workspace counts
// `blocks`. All threads of all blocks that finish a part of `out` call it.
template <int warps>
KILN_DEVICE void finish_gate(const RouterGemmParams& p, u32 blocks, const Shared<u32>& flag) {
  if constexpr (!shape::gate_is::none) {
    if (!router_gemm_fuses_gate(p.tokens, p.workspace_floats)) return;
    if (!arrives_last(p, 0, blocks, flag)) return;
    for (int token = warp(); token < p.tokens; token += warps) {
      router_gate_detail::gate_token(p, token);
    }
  }
}

}  // namespace router_gemm_detail
}  // namespace kiln
