// SPDX-License-Identifier: Apache-2.0
// What the native CPU does with state rows of Kimi Delta Attention, for kda_decode and kda_prefill
// alike: a prefill gives the bits that decoding token by token would. Four rows at a time: the
// first sweep over them makes both dot products of each row (see kda/lane_rows.h for why two at
// once suffice), the second one, from the first-level cache, updates and stores them.
//
// `Params` is the parameter struct of either op: what they have in common is named alike.
#pragma once

#include "kiln/cpu.h"
#include "kiln/shape.h"

namespace kiln {
namespace kda_detail {

using Io = bf16;
constexpr int kVectors = shape::K / vector_lanes;  // of a row
constexpr int kRows = 4;                           // of a step

// What all rows of a head share.
struct Head {
  Floats decay[kVectors];    // e^g
  Floats k[kVectors];        // normalised
  Floats decay_k[kVectors];  // decay times k, so that the undecayed row gives both products
  Floats decay_q[kVectors];  // decay times q, normalised and scaled
  float kq;                  // k . q
  float beta;
};

KILN_DEVICE float sum_of_products(const Floats (&a)[kVectors], const Floats (&b)[kVectors]) {
  Floats sum = a[0] * b[0];
  for (int c = 1; c < kVectors; ++c) sum = fma(a[c], b[c], sum);
  return horizontal_sum(sum);
}

template <class Heads>
KILN_DEVICE void load_row(const Heads& tensor, i64 n, int head, Floats (&row)[kVectors]) {
  const Io* data =
      static_cast<const Io*>(tensor.data) + n * tensor.token_stride + head * tensor.head_stride;
  for (int c = 0; c < kVectors; ++c) row[c] = load(data + c * vector_lanes);
}

KILN_DEVICE void scale_row(Floats (&row)[kVectors], float factor) {
  for (int c = 0; c < kVectors; ++c) row[c] *= Floats(factor);
}

// e^(-e^A_log softplus(a + bias))
template <class Params>
KILN_DEVICE void load_decay(const Params& p, i64 n, int hv, Floats (&decay)[kVectors]) {
  const float rate = exp(p.a_log[hv]);
  const Floats beta(p.softplus_beta);
  load_row(p.a, n, hv, decay);
  for (int c = 0; c < kVectors; ++c) {
    Floats x = decay[c];
    if (p.dt_bias != nullptr) x += load(p.dt_bias + hv * shape::K + c * vector_lanes);
    const Floats smooth = divide(softplus(beta * x), beta);
    const Floats gate = select(beta * x > Floats(p.softplus_threshold), x, smooth);
    decay[c] = exp(Floats(-rate) * gate);
  }
}

// Token n of value head hv.
template <class Params>
KILN_DEVICE void load_head(const Params& p, i64 n, int hv, Head& head) {
  const int h = hv / (shape::HV / shape::H);
  Floats q[kVectors];
  load_row(p.q, n, h, q);
  load_row(p.k, n, h, head.k);
  if constexpr (shape::qk_l2norm) {
    scale_row(q, rsqrt(sum_of_products(q, q) + p.l2norm_eps));
    scale_row(head.k, rsqrt(sum_of_products(head.k, head.k) + p.l2norm_eps));
  }
  scale_row(q, p.scale);
  head.kq = sum_of_products(head.k, q);
  head.beta = sigmoid(to_float(static_cast<const Io*>(p.b)[n * p.b_token_stride + hv]));
  load_decay(p, n, hv, head.decay);
  for (int c = 0; c < kVectors; ++c) {
    head.decay_k[c] = head.decay[c] * head.k[c];
    head.decay_q[c] = head.decay[c] * q[c];
  }
}

// Rows `state` to state + kRows: updates them and gives their outputs.
KILN_DEVICE void update_rows(float* state, const Head& head, const Io* v, Io* out) {
  Floats along_k[kRows] = {};
  Floats along_q[kRows] = {};
#pragma clang loop unroll(full)
  for (int c = 0; c < kVectors; ++c) {
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      const Floats row = load(state + r * shape::K + c * vector_lanes);
      along_k[r] = fma(row, head.decay_k[c], along_k[r]);
      along_q[r] = fma(row, head.decay_q[c], along_q[r]);
    }
  }
  const Floats4 sum_k = horizontal_sums(along_k[0], along_k[1], along_k[2], along_k[3]);
  const Floats4 sum_q = horizontal_sums(along_q[0], along_q[1], along_q[2], along_q[3]);
  const Floats4 value = {to_float(v[0]), to_float(v[1]), to_float(v[2]), to_float(v[3])};
  const Floats4 u = head.beta * (value - sum_k);
  const Floats4 o = sum_q + u * head.kq;
#pragma clang loop unroll(full)
  for (int c = 0; c < kVectors; ++c) {
#pragma clang loop unroll(full)
    for (int r = 0; r < kRows; ++r) {
      float* at = state + r * shape::K + c * vector_lanes;
      store(at, fma(Floats(u[r]), head.k[c], load(at) * head.decay[c]));
    }
  }
  for (int r = 0; r < kRows; ++r) out[r] = from_float<Io>(o[r]);
}

template <class Params>
KILN_DEVICE i64 slot_of(const Params& p, i64 n) {
  return p.slot_bytes == 8 ? static_cast<const i64*>(p.slots)[n]
                           : static_cast<const i32*>(p.slots)[n];
}

}  // namespace kda_detail
}  // namespace kiln
