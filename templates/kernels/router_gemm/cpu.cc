// SPDX-License-Identifier: Apache-2.0
// router_gemm on the native CPU. A work item is four experts and a few tokens: their rows of W are
// read from memory once and then from the first-level cache. Sums stay in registers over all of K.
#include "kiln/cpu.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"
#include "router_gemm/params.h"
#include "router_gemm/tiles.h"

namespace kiln {
namespace router_gemm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Out = StorageType<shape::out_is::bf16, shape::out_is::f16>;
using Bias = StorageType<shape::bias_is::bf16, shape::bias_is::f16>;

constexpr int kExperts = kRouterGemmCpuItem.experts;
// As many as the sums of a tile have registers for: 32 with AVX-512, else 16.
constexpr int kTokens = vector_lanes == 16 ? 4 : 2;
constexpr int kWholeVectors = shape::K / vector_lanes * vector_lanes;

struct ExpertRows {
  const Io* w[kExperts];
};

// Experts beyond the last are the last one again: what comes of them is not stored.
KILN_DEVICE ExpertRows expert_rows(const RouterGemmParams& p, int expert) {
  ExpertRows rows;
  for (int e = 0; e < kExperts; ++e) {
    rows.w[e] = static_cast<const Io*>(p.w) + min(expert + e, shape::N - 1) * p.w_row_stride;
  }
  return rows;
}

KILN_DEVICE void store_outputs(const RouterGemmParams& p, int expert, i64 token, Floats4 sums) {
  Out* out = static_cast<Out*>(p.out) + token * p.out_row_stride;
  for (int e = 0; e < kExperts && expert + e < shape::N; ++e) {
    float sum = sums[e];
    if constexpr (!shape::bias_is::none) {
      sum += to_float(static_cast<const Bias*>(p.bias)[expert + e]);
    }
    out[expert + e] = from_float<Out>(sum);
  }
}

// The outputs of kExperts experts and `tokens` tokens from `token` on.
template <int tokens>
KILN_DEVICE void run_tile(const RouterGemmParams& p, const ExpertRows& rows, int expert,
                          i64 token) {
  const Io* a[tokens];
  for (int t = 0; t < tokens; ++t) {
    a[t] = static_cast<const Io*>(p.a) + (token + t) * p.a_row_stride;
  }
  Floats sums[tokens][kExperts] = {};
  for (int k = 0; k < kWholeVectors; k += vector_lanes) {
    Floats from_a[tokens];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; ++t) from_a[t] = load(a[t] + k);
#pragma clang loop unroll(full)
    for (int e = 0; e < kExperts; ++e) {
      const Floats w = load(rows.w[e] + k);
#pragma clang loop unroll(full)
      for (int t = 0; t < tokens; ++t) sums[t][e] = fma(from_a[t], w, sums[t][e]);
    }
  }
#pragma clang loop unroll(full)
  for (int t = 0; t < tokens; ++t) {
    Floats4 totals = horizontal_sums(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
    for (int k = kWholeVectors; k < shape::K; ++k) {
      for (int e = 0; e < kExperts; ++e) {
        totals[e] = fma(to_float(a[t][k]), to_float(rows.w[e][k]), totals[e]);
      }
    }
    store_outputs(p, expert, token + t, totals);
  }
}

KILN_DEVICE void run_item(const RouterGemmParams& p, i64 item) {
  constexpr i64 kExpertTiles = ceil_div(shape::N, kExperts);
  const int expert = static_cast<int>(item % kExpertTiles) * kExperts;
  i64 token = item / kExpertTiles * kRouterGemmCpuItem.tokens;
  const i64 end = min(token + kRouterGemmCpuItem.tokens, static_cast<i64>(p.tokens));
  const ExpertRows rows = expert_rows(p, expert);
  for (; token + kTokens <= end; token += kTokens) run_tile<kTokens>(p, rows, expert, token);
  for (; token < end; ++token) run_tile<1>(p, rows, expert, token);
}

}  // namespace router_gemm_detail

KILN_CPU_KERNEL(router_gemm_cpu, host, params, first, last) {
  using namespace router_gemm_detail;
  const RouterGemmParams& p = *static_cast<const RouterGemmParams*>(params);
  for (i64 item = first; item < last; ++item) run_item(p, item);
}

}  // namespace kiln
