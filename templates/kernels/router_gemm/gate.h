// SPDX-License-Identifier: Apache-2.0
// The gate on a GPU: a warp chooses the experts of one token. Lane l holds experts l, l +
// warp_size, ... as keys (score_keys.h), so a choice is a maximum over the warp.
#pragma once

#include "kiln/convert.h"
#include "kiln/global.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"
#include "kiln/thread.h"
#include "kiln/warp.h"
#include "router_gemm/params.h"
#include "router_gemm/score_keys.h"

namespace kiln {
namespace router_gate_detail {

using Logit = StorageType<shape::out_is::bf16, shape::out_is::f16>;
using Correction = StorageType<shape::correction_is::bf16, shape::correction_is::f16>;

constexpr int kPerLane = ceil_div(shape::N, warp_size);

// From logit to score: what softmax needs of the whole row.
struct Scores {
  float shift = 0.0f;
  float sum = 1.0f;
  KILN_DEVICE float of(float logit) const {
    if constexpr (shape::gate_is::softmax) {
      return divide(exp(logit - shift), sum);
    } else {
      return sigmoid(logit);
    }
  }
};

KILN_DEVICE Scores scores_of(const float (&logits)[kPerLane]) {
  Scores scores;
  if constexpr (shape::gate_is::softmax) {
    float largest = logits[0];
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) largest = max(largest, logits[i]);
    scores.shift = group_max(largest);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * warp_size + lane() < shape::N) sum += exp(logits[i] - scores.shift);
    }
    scores.sum = group_sum(sum);
  }
  return scores;
}

// One bit per group: whether its experts can be chosen.
KILN_DEVICE LaneMask kept_groups(const u32 (&keys)[kPerLane], int kept) {
  constexpr int kGroupSize = shape::N / shape::n_group;
  u32 own = 0;  // the key of group number lane()
#pragma unroll 2
  for (int group = 0; group < shape::n_group; ++group) {
    TopTwo best;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if ((i * warp_size + lane()) / kGroupSize == group) best.add(keys[i]);
    }
#pragma unroll
    for (int step = warp_size / 2; step > 0; step /= 2) {
      TopTwo other;
      other.first = shuffle_xor(best.first, step);
      other.second = shuffle_xor(best.second, step);
      best.merge(other);
    }
    if (lane() == group) own = best.sum_key();
  }
  int better = 0;
#pragma unroll 4
  for (int group = 0; group < shape::n_group; ++group) {
    const u32 other = shuffle(own, group);
    better += static_cast<int>(other > own || (other == own && group < lane()));
  }
  return ballot(lane() < shape::n_group && better < kept);
}

KILN_DEVICE void keep_groups(u32 (&keys)[kPerLane], LaneMask kept) {
  constexpr int kGroupSize = shape::N / shape::n_group;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int group = (i * warp_size + lane()) / kGroupSize;
    if (group >= shape::n_group || (kept >> group & 1) == 0) keys[i] = 0;
  }
}

// Lane j gets the number of the expert that is chosen j-th.
KILN_DEVICE int choose(u32 (&keys)[kPerLane], int topk) {
  int own = 0;
#pragma unroll 1
  for (int j = 0; j < topk; ++j) {
    u64 best = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      best = max(best, ranked_expert(keys[i], i * warp_size + lane()));
    }
    const int expert = expert_of(group_max(best));
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * warp_size + lane() == expert) keys[i] = 0;
    }
    if (lane() == j) own = expert;
  }
  return own;
}

// All lanes of a warp: the ids and weights of one token, whose logits lie in `out`.
KILN_DEVICE void gate_token(const RouterGemmParams& p, i64 token) {
  const RouterGateParams& gate = p.gate;
  const Global<const Logit> row(static_cast<const Logit*>(p.out) + token * p.out_row_stride);
  const float kNone = from_bits<float>(0xff800000u);  // -inf
  float logits[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * warp_size + lane();
    logits[i] = expert < shape::N ? to_float(row.load(expert)) : kNone;
  }
  const Scores scores = scores_of(logits);
  u32 keys[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * warp_size + lane();
    keys[i] = 0;
    if (expert >= shape::N) continue;
    float score = scores.of(logits[i]);
    if constexpr (!shape::correction_is::none) {
      score += to_float(
          Global<const Correction>(static_cast<const Correction*>(gate.correction)).load(expert));
    }
    keys[i] = score_key(score);
  }
  if constexpr (shape::n_group > 1) keep_groups(keys, kept_groups(keys, gate.topk_group));
  const int expert = choose(keys, gate.topk);
  const bool chosen = lane() < gate.topk;
  float weight = chosen ? scores.of(to_float(row.load(expert))) : 0.0f;
  const float total = group_sum(weight);
  if (gate.renormalize != 0) weight = divide(weight, total + 1e-20f);
  const Global<float> weights(gate.weights + token * gate.weights_row_stride);
  const Global<i32> ids(gate.ids + token * gate.ids_row_stride);
  if (chosen) {
    weights.store(lane(), weight * gate.scale);
    ids.store(lane(), expert);
  }
  for (int i = lane(); i < gate.shared_experts; i += warp_size) {
    weights.store(gate.topk + i, gate.shared_weight);
    ids.store(gate.topk + i, shape::N + i);
  }
}

}  // namespace router_gate_detail
}  // namespace kiln
