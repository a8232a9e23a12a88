// SPDX-License-Identifier: Apache-2.0
// kda_decode in fp64, one token of one value head at a time, as the recurrence is written down in
// kiln/kda_decode.h.
#pragma once

#include <cstdint>
#include <span>

#include "kiln/kda_decode.h"

namespace kiln::reference {

struct KdaDecodeSettings {
  double scale = 1;
  bool qk_l2norm = true;
  double l2norm_eps = 1e-6;  // inside the square root
  double softplus_beta = 1;
  double softplus_threshold = 20;
  KdaGate gate = KdaGate::softplus;
  KdaBeta beta = KdaBeta::logit;
  double lower_bound = -5;
};

// One token of one value head.
struct KdaDecodeHead {
  std::span<const double> q;        // [K], of the query/key head that serves this value head
  std::span<const double> k;        // [K], likewise
  std::span<const double> v;        // [V]
  std::span<const double> a;        // [K]; KdaGate::scalar: [1]
  std::span<const double> dt_bias;  // as a, or empty: no bias
  double b = 0;
  double a_log = 0;
};

// Updates `state` [V, K] and writes `out` [V]. Thread-safe.
void kda_decode_head(const KdaDecodeSettings& settings, const KdaDecodeHead& head,
                     std::span<double> state, std::span<double> out);

}  // namespace kiln::reference
