// SPDX-License-Identifier: Apache-2.0
// router_gemm on the native CPU. Few tokens: memory is the limit, and every row of W is read once.
// Many: arithmetic is; tokens are widened once into scratch memory, and 4 x 4 sums stay in
// registers over a part of K, so that a multiply-add costs a quarter of a load and of a widening.
#include "kiln/cpu.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"
#include "router_gemm/params.h"
#include "router_gemm/score_keys.h"
#include "router_gemm/tiles.h"

namespace kiln {
namespace router_gemm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Out = StorageType<shape::out_is::bf16, shape::out_is::f16>;
using Bias = StorageType<shape::bias_is::bf16, shape::bias_is::f16>;

constexpr int kExperts = 4;
constexpr int kPairLanes = 2 * vector_lanes;
constexpr int kWholePairs = shape::K / kPairLanes * kPairLanes;

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

KILN_DEVICE const Io* token_row(const RouterGemmParams& p, i64 token) {
  return static_cast<const Io*>(p.a) + token * p.a_row_stride;
}

KILN_DEVICE void store_output(const RouterGemmParams& p, int expert, i64 token, float sum) {
  if constexpr (!shape::bias_is::none) {
    sum += to_float(static_cast<const Bias*>(p.bias)[expert]);
  }
  static_cast<Out*>(p.out)[token * p.out_row_stride + expert] = from_float<Out>(sum);
}

// What is left of K after the whole vectors.
KILN_DEVICE float tail_products(const Io* a, const Io* w) {
  float sum = 0.0f;
  for (int k = kWholePairs; k < shape::K; ++k) sum = fma(to_float(a[k]), to_float(w[k]), sum);
  return sum;
}

// The outputs of four experts and of all `tokens` tokens, which are few.
template <int tokens>
KILN_DEVICE void few_tokens(const RouterGemmParams& p, int expert) {
  // Far enough to cover the memory's latency at the rate that one core reads; into the second
  // level, so that four streams don't push each other out of the first: of memory's 30 GB/s on a
  // shared machine 0.85 instead of 0.75.
  constexpr int kAheadBytes = 1024;
  const ExpertRows rows = expert_rows(p, expert);
  Floats sums[tokens][kExperts] = {};
  for (int k = 0; k < kWholePairs; k += kPairLanes) {
    FloatsPair a[tokens];
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; ++t) a[t] = load_pair<Io>(token_row(p, t) + k);
#pragma clang loop unroll(full)
    for (int e = 0; e < kExperts; ++e) {
      const FloatsPair w = load_pair<Io>(rows.w[e] + k);
      prefetch_far(reinterpret_cast<const char*>(rows.w[e] + k) + kAheadBytes);
#pragma clang loop unroll(full)
      for (int t = 0; t < tokens; ++t) {
        sums[t][e] = fma(a[t].two, w.two, fma(a[t].one, w.one, sums[t][e]));
      }
    }
  }
#pragma clang loop unroll(full)
  for (int t = 0; t < tokens; ++t) {
    const Floats4 totals = horizontal_sums(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
    for (int e = 0; e < kExperts && expert + e < shape::N; ++e) {
      store_output(p, expert + e, t, totals[e] + tail_products(token_row(p, t), rows.w[e]));
    }
  }
}

// Tokens whose sums are held at once: 16 sums of the 32 registers of AVX-512, 8 of 16 elsewhere.
constexpr int kTokens = vector_lanes == 16 ? 4 : 2;
constexpr int kDepth = kRouterGemmCpuDepth;
static_assert(kDepth % kPairLanes == 0, "a part of K is whole vectors");
constexpr RouterGemmTile kItem = kRouterGemmCpuItem;

// An item's scratch memory: a part of K of its tokens, and the sums so far.
struct ItemScratch {
  float a[kItem.tokens][kDepth];
  float sums[kItem.tokens][kItem.experts];
};
static_assert(sizeof(ItemScratch) <= kKilnCpuScratchBytes, "the host lends that much");

KILN_DEVICE void widen_tokens(const RouterGemmParams& p, i64 token, int tokens, int k, int end,
                              ItemScratch& scratch) {
  for (int t = 0; t < tokens; ++t) {
    const Io* row = token_row(p, token + t);
    float* to = scratch.a[t];
    for (int i = k; i < end; i += kPairLanes, to += kPairLanes) {
      const FloatsPair pair = load_pair<Io>(row + i);
      store(to, pair.one);
      store(to + vector_lanes, pair.two);
    }
  }
}

// Adds the products of K from k to end for four experts and `tokens` tokens of the item.
template <int tokens>
KILN_DEVICE void add_products(const ExpertRows& rows, int expert, int token, int k, int end,
                              ItemScratch& scratch) {
  Floats sums[tokens][kExperts] = {};
  const float* const a = scratch.a[token];
  for (int i = 0; i < end - k; i += kPairLanes) {
    FloatsPair w[kExperts];
#pragma clang loop unroll(full)
    for (int e = 0; e < kExperts; ++e) w[e] = load_pair<Io>(rows.w[e] + k + i);
#pragma clang loop unroll(full)
    for (int t = 0; t < tokens; ++t) {
      const Floats first = load(a + t * kDepth + i);
#pragma clang loop unroll(full)
      for (int e = 0; e < kExperts; ++e) sums[t][e] = fma(first, w[e].one, sums[t][e]);
      const Floats second = load(a + t * kDepth + i + vector_lanes);
#pragma clang loop unroll(full)
      for (int e = 0; e < kExperts; ++e) sums[t][e] = fma(second, w[e].two, sums[t][e]);
    }
  }
#pragma clang loop unroll(full)
  for (int t = 0; t < tokens; ++t) {
    Floats4 all;
    float* const to = scratch.sums[token + t] + expert;
    __builtin_memcpy(&all, to, sizeof all);
    all += horizontal_sums(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
    __builtin_memcpy(to, &all, sizeof all);
  }
}

KILN_DEVICE void run_item(const RouterGemmParams& p, int expert, i64 token, ItemScratch& scratch) {
  const int tokens =
      static_cast<int>(min(static_cast<i64>(kItem.tokens), static_cast<i64>(p.tokens) - token));
  const int experts = min(kItem.experts, shape::N - expert);
  for (int t = 0; t < tokens; ++t) __builtin_memset(scratch.sums[t], 0, sizeof scratch.sums[t]);
  for (int k = 0; k < kWholePairs; k += kDepth) {
    const int end = min(k + kDepth, kWholePairs);
    widen_tokens(p, token, tokens, k, end, scratch);
    // The tokens of a tile stay in the first-level cache while the rows of W come from the second.
    int t = 0;
    for (; t + kTokens <= tokens; t += kTokens) {
      for (int e = 0; e < experts; e += kExperts) {
        add_products<kTokens>(expert_rows(p, expert + e), e, t, k, end, scratch);
      }
    }
    for (; t < tokens; ++t) {
      for (int e = 0; e < experts; e += kExperts) {
        add_products<1>(expert_rows(p, expert + e), e, t, k, end, scratch);
      }
    }
  }
  for (int t = 0; t < tokens; ++t) {
    for (int e = 0; e < experts; ++e) {
      float sum = scratch.sums[t][e];
      if constexpr (kWholePairs < shape::K) {
        sum += tail_products(token_row(p, token + t), expert_rows(p, expert + e).w[0]);
      }
      store_output(p, expert + e, token + t, sum);
    }
  }
}

}  // namespace router_gemm_detail

// Items: tiles of four experts, each with all tokens: kRouterGemmCpuFew.tokens at most.
KILN_CPU_KERNEL(router_gemm_cpu_few, host, params, first, last) {
  using namespace router_gemm_detail;
  const RouterGemmParams& p = *static_cast<const RouterGemmParams*>(params);
  for (i64 item = first; item < last; ++item) {
    const int expert = static_cast<int>(item) * kExperts;
    switch (p.tokens) {
      case 1:
        few_tokens<1>(p, expert);
        break;
      case 2:
        few_tokens<2>(p, expert);
        break;
      case 3:
        few_tokens<3>(p, expert);
        break;
      default:
        few_tokens<4>(p, expert);
    }
  }
}

// Items: tiles of kRouterGemmCpuItem, those of the same tokens first.
KILN_CPU_KERNEL(router_gemm_cpu_many, host, params, first, last) {
  using namespace router_gemm_detail;
  const RouterGemmParams& p = *static_cast<const RouterGemmParams*>(params);
  constexpr i64 kExpertTiles = ceil_div(shape::N, kItem.experts);
  for (i64 item = first; item < last; ++item) {
    run_item(p, static_cast<int>(item % kExpertTiles) * kItem.experts,
             item / kExpertTiles * kItem.tokens, *static_cast<ItemScratch*>(host->scratch));
  }
}

namespace router_gate_detail {

using Logit = router_gemm_detail::Out;
using Correction = StorageType<shape::correction_is::bf16, shape::correction_is::f16>;

// A token's row in the worker's scratch memory, in whole vectors.
constexpr int kRow = ceil_div(shape::N, vector_lanes) * vector_lanes;
struct Row {
  float scores[kRow];
  u32 keys[kRow];
};
static_assert(sizeof(Row) <= kKilnCpuScratchBytes || shape::gate_is::none, "the host lends that");

KILN_DEVICE void read_scores(const RouterGemmParams& p, i64 token, Row& row) {
  const Logit* logits = static_cast<const Logit*>(p.out) + token * p.out_row_stride;
  const float kNone = from_bits<float>(0xff800000u);  // -inf
  float largest = kNone;
  for (int n = 0; n < shape::N; ++n) {
    row.scores[n] = to_float(logits[n]);
    largest = max(largest, row.scores[n]);
  }
  for (int n = shape::N; n < kRow; ++n) row.scores[n] = kNone;
  Floats sums = 0.0f;
  for (int n = 0; n < kRow; n += vector_lanes) {
    const Floats logit = load(row.scores + n);
    Floats score;
    if constexpr (shape::gate_is::softmax) {
      score = exp(logit - Floats(largest));
      sums += n + vector_lanes <= shape::N ? score : Floats(0.0f);
    } else {
      score = sigmoid(logit);
    }
    store(row.scores + n, score);
  }
  if constexpr (shape::gate_is::softmax) {
    float sum = horizontal_sum(sums);
    for (int n = shape::N / vector_lanes * vector_lanes; n < shape::N; ++n) sum += row.scores[n];
    for (int n = 0; n < shape::N; ++n) row.scores[n] = divide(row.scores[n], sum);
  }
}

KILN_DEVICE void read_keys(const RouterGemmParams& p, Row& row) {
  for (int n = 0; n < shape::N; ++n) {
    float score = row.scores[n];
    if constexpr (!shape::correction_is::none) {
      score += to_float(static_cast<const Correction*>(p.gate.correction)[n]);
    }
    row.keys[n] = score_key(score);
  }
}

// Keys of groups that are not among the best become 0.
KILN_DEVICE void keep_groups(Row& row, int kept) {
  constexpr int kGroupSize = shape::N / shape::n_group;
  u32 sums[shape::n_group];
  for (int group = 0; group < shape::n_group; ++group) {
    TopTwo best;
    for (int i = 0; i < kGroupSize; ++i) best.add(row.keys[group * kGroupSize + i]);
    sums[group] = best.sum_key();
  }
  for (int group = 0; group < shape::n_group; ++group) {
    int better = 0;
    for (int other = 0; other < shape::n_group; ++other) {
      better += sums[other] > sums[group] || (sums[other] == sums[group] && other < group);
    }
    if (better < kept) continue;
    for (int i = 0; i < kGroupSize; ++i) row.keys[group * kGroupSize + i] = 0;
  }
}

KILN_DEVICE int take_best(Row& row) {
  u32 best = 0;
  for (int n = 0; n < shape::N; ++n) best = max(best, row.keys[n]);
  int expert = 0;
  while (row.keys[expert] != best) ++expert;
  row.keys[expert] = 0;
  return expert;
}

KILN_DEVICE void gate_token(const RouterGemmParams& p, i64 token, Row& row) {
  const RouterGateParams& gate = p.gate;
  read_scores(p, token, row);
  read_keys(p, row);
  if constexpr (shape::n_group > 1) keep_groups(row, gate.topk_group);
  int* ids = gate.ids + token * gate.ids_row_stride;
  float* weights = gate.weights + token * gate.weights_row_stride;
  float total = 0.0f;
  for (int j = 0; j < gate.topk; ++j) {
    ids[j] = take_best(row);
    total += row.scores[ids[j]];
  }
  for (int j = 0; j < gate.topk; ++j) {
    float weight = row.scores[ids[j]];
    if (gate.renormalize != 0) weight = divide(weight, total + 1e-20f);
    weights[j] = weight * gate.scale;
  }
  for (int i = 0; i < gate.shared_experts; ++i) {
    ids[gate.topk + i] = shape::N + i;
    weights[gate.topk + i] = gate.shared_weight;
  }
}

}  // namespace router_gate_detail

// Items: tokens.
KILN_CPU_KERNEL(router_gate_cpu, host, params, first, last) {
  if constexpr (!shape::gate_is::none) {
    const RouterGemmParams& p = *static_cast<const RouterGemmParams*>(params);
    for (i64 token = first; token < last; ++token) {
      router_gate_detail::gate_token(p, token,
                                     *static_cast<router_gate_detail::Row*>(host->scratch));
    }
  }
}

}  // namespace kiln
