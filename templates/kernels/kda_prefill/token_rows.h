// SPDX-License-Identifier: Apache-2.0
// The tokens of a chunk in shared memory, as fp32: keys and queries normalised, decays and betas.
// Included after kda/lanes.h.
#pragma once

#include "kiln/shared.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kLaneKeys = shape::K / warp_size;

// Rows of K, `stride` apart. Those behind the last token are zeros, their decays 1.
template <int stride>
struct TokenRows {
  Shared<float> k, q, decay;
  Shared<float> beta;  // one of each row
};

// The keys of a lane lie warp_size apart.
KILN_DEVICE int key_of(int c) {
  return c * warp_size + lane();
}

template <int stride>
KILN_DEVICE void load_decay(const KdaParams& p, i64 n, i64 t, int hv, int row,
                            const TokenRows<stride>& chunk) {
  float rate = 0.0f;
  if constexpr (kGateHasWeights) {
    rate = rate_of(p.a_log != nullptr ? Global<const float>(p.a_log).load(hv) : 0.0f);
  }
  const Global<const GateIo> a(static_cast<const GateIo*>(p.a.data) + offset_of(p.a, n, t, hv));
  const Global<const float> bias(p.dt_bias);
  const bool biased = kGateHasWeights && p.dt_bias != nullptr;
#pragma unroll
  for (int c = 0; c < kLaneKeys; ++c) {
    const int key = key_of(c);
    float x = to_float(a.load(kScalarGate ? 0 : key));
    if (biased) x += bias.load(kScalarGate ? hv : hv * shape::K + key);
    chunk.decay.store(row * stride + key, decay_of(p, rate, x));
  }
}

// Row `row`, by a warp: token t, or zeros.
template <int stride>
KILN_DEVICE void load_row(const KdaParams& p, i64 n, i64 t, int hv, int row, bool exists,
                          const TokenRows<stride>& chunk) {
  if (!exists) {
#pragma unroll
    for (int c = 0; c < kLaneKeys; ++c) {
      chunk.k.store(row * stride + key_of(c), 0.0f);
      chunk.q.store(row * stride + key_of(c), 0.0f);
      chunk.decay.store(row * stride + key_of(c), 1.0f);
    }
    if (lane() == 0) chunk.beta.store(row, 0.0f);
    return;
  }
  const int h = hv / (shape::HV / shape::H);
  const Global<const Io> q(static_cast<const Io*>(p.q.data) + offset_of(p.q, n, t, h));
  const Global<const Io> k(static_cast<const Io*>(p.k.data) + offset_of(p.k, n, t, h));
  float q_of[kLaneKeys], k_of[kLaneKeys];
  Pair squares{0.0f, 0.0f};
#pragma unroll
  for (int c = 0; c < kLaneKeys; ++c) {
    q_of[c] = to_float(q.load(key_of(c)));
    k_of[c] = to_float(k.load(key_of(c)));
    squares.one = fma(q_of[c], q_of[c], squares.one);
    squares.two = fma(k_of[c], k_of[c], squares.two);
  }
  float q_factor = p.scale;
  float k_factor = 1.0f;
  if constexpr (shape::qk_l2norm) {
    squares = group_sum(squares);
    q_factor *= rsqrt(squares.one + p.l2norm_eps);
    k_factor = rsqrt(squares.two + p.l2norm_eps);
  }
#pragma unroll
  for (int c = 0; c < kLaneKeys; ++c) {
    chunk.q.store(row * stride + key_of(c), q_of[c] * q_factor);
    chunk.k.store(row * stride + key_of(c), k_of[c] * k_factor);
  }
  load_decay(p, n, t, hv, row, chunk);
  if (lane() == 0) {
    const Global<const GateIo> b(static_cast<const GateIo*>(p.b.data));
    chunk.beta.store(row, beta_of(to_float(b.load(offset_of(p.b, n, t, hv)))));
  }
}

}  // namespace kda_prefill_detail
}  // namespace kiln
