// SPDX-License-Identifier: Apache-2.0
// Gate and beta of Kimi Delta Attention, for float on a GPU and for vectors on the native CPU, and
// the types that the shape names.
#pragma once

#include "kda/params.h"
#include "kiln/math.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"

namespace kiln {
namespace kda_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using GateIo = StorageType<shape::gate_io_is::bf16, shape::gate_io_is::f16>;
using State = StorageType<shape::state_is::bf16, false>;

constexpr bool kVk = shape::layout_is::VK;
constexpr bool kGateHasWeights = !shape::gate_is::precomputed;
constexpr bool kScalarGate = shape::gate_is::scalar;  // one number per head

// e^A_log, kept finite: times a gate of 0 it has to stay 0.
KILN_DEVICE float rate_of(float a_log) {
  return min(exp(a_log), 3.0e38f);
}

// e^g for x = a + bias.
template <class F>
KILN_DEVICE F decay_of(const KdaParams& p, float rate, F x) {
  if constexpr (shape::gate_is::precomputed) {
    return exp(x);
  } else if constexpr (shape::gate_is::lower_bound) {
    return exp(F(p.lower_bound) * sigmoid(F(rate) * x));
  } else {
    const F beta(p.softplus_beta);
    const F smooth = softplus(beta * x) * F(divide(1.0f, p.softplus_beta));
    return exp(F(-rate) * select(beta * x > F(p.softplus_threshold), x, smooth));
  }
}

KILN_DEVICE float beta_of(float b) {
  if constexpr (shape::beta_is::given) {
    return b;
  } else {
    return (shape::beta_is::doubled ? 2.0f : 1.0f) * sigmoid(b);
  }
}

KILN_DEVICE i64 offset_of(const KdaHeads& heads, i64 n, i64 t, int head) {
  return n * heads.sequence_stride + t * heads.token_stride + head * heads.head_stride;
}

}  // namespace kda_detail
}  // namespace kiln
