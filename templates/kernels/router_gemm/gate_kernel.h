// SPDX-License-Identifier: Apache-2.0
// The second launch of a gated call: from logits in `out` to ids and weights. Each source of the op
// has it, so that either launch is compiled with the other.
#pragma once

#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "router_gemm/gate.h"
#include "router_gemm/tiles.h"

namespace kiln {

// Grid: x counts groups of kRouterGateTokensPerBlock tokens. Block: 128 threads.
KILN_KERNEL(128, 4) router_gate(KILN_PARAMS(RouterGemmParams) p) {
  dependency_wait();
  launch_dependents();
  if constexpr (!shape::gate_is::none) {
    constexpr int kWarps = 128 / warp_size;
    for (int i = warp(); i < kRouterGateTokensPerBlock; i += kWarps) {
      const i64 token = static_cast<i64>(block_idx().x) * kRouterGateTokensPerBlock + i;
      if (token < p.tokens) router_gate_detail::gate_token(p, token);
    }
  }
}

}  // namespace kiln
