// SPDX-License-Identifier: Apache-2.0
// The decay of a head, computed by the block together: every thread has keys of its own, where a
// warp alone would compute the gate of all of them, which is most of its instructions. One barrier.
#pragma once

#include "kda/lanes.h"
#include "kiln/barrier.h"
#include "kiln/shared.h"

namespace kiln {
namespace kda_detail {

// A scalar gate is one number, which each lane computes.
constexpr bool kSharesDecay = !kScalarGate;
constexpr int kThreadKeys = (shape::K + kKdaThreads - 1) / kKdaThreads;

KILN_DEVICE int thread_key(int i) {
  return thread_rank() + i * kKdaThreads;
}
KILN_DEVICE bool has_thread_key(int i) {
  return shape::K % kKdaThreads == 0 || thread_key(i) < shape::K;
}

// This thread's keys of the gate's inputs.
struct ThreadGate {
  float a_log = 0.0f;
  float bias[kThreadKeys] = {};
  GateIo a[kThreadKeys] = {};
};

// What no kernel writes: read before the dependency wait.
KILN_DEVICE ThreadGate load_thread_weights(const KdaParams& p, int hv) {
  ThreadGate gate;
  if constexpr (kGateHasWeights) {
    if (p.a_log != nullptr) gate.a_log = Global<const float>(p.a_log).load(hv);
    if (p.dt_bias != nullptr) {
#pragma unroll
      for (int i = 0; i < kThreadKeys; ++i) {
        if (!has_thread_key(i)) break;
        gate.bias[i] = Global<const float>(p.dt_bias).load(hv * shape::K + thread_key(i));
      }
    }
  }
  return gate;
}

KILN_DEVICE void load_thread_gate(const KdaParams& p, i64 n, i64 t, int hv, ThreadGate& gate) {
  const Global<const GateIo> a(static_cast<const GateIo*>(p.a.data));
  const i64 at = offset_of(p.a, n, t, hv);
#pragma unroll
  for (int i = 0; i < kThreadKeys; ++i) {
    if (has_thread_key(i)) gate.a[i] = a.load(at + thread_key(i));
  }
}

// All threads of the block call it; `decay` holds K floats.
KILN_DEVICE void share_decay(const KdaParams& p, const ThreadGate& gate,
                             const Shared<float>& decay) {
  const float rate = kGateHasWeights ? rate_of(gate.a_log) : 0.0f;
#pragma unroll
  for (int i = 0; i < kThreadKeys; ++i) {
    if (!has_thread_key(i)) break;
    decay.store(thread_key(i), decay_of(p, rate, to_float(gate.a[i]) + gate.bias[i]));
  }
  block_barrier();
}

KILN_DEVICE void take_decay(const Shared<float>& decay, const Place& place, Head& head) {
#pragma unroll
  for (int c = 0; c < kQuads; ++c) {
    const Vec<float, 4> quad = decay.load_vector<4>(place.key(4 * c));
#pragma unroll
    for (int j = 0; j < 4; ++j) head.decay[4 * c + j] = quad[j];
  }
}

}  // namespace kda_detail
}  // namespace kiln
