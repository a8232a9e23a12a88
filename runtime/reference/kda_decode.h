// SPDX-License-Identifier: Apache-2.0
// kda_decode in fp64, from the formulas of Kimi Delta Attention and in their order; shares nothing
// with the kernels. Inputs are what the kernel was given, widened: rounding them is the caller's.
#pragma once

#include <cstdint>
#include <span>

namespace kiln::reference {

struct KdaDecodeSettings {
  double scale = 1;  // of q, after the norm
  bool qk_l2norm = true;
  double l2norm_eps = 1e-6;  // inside the square root
  double softplus_beta = 1;
  double softplus_threshold = 20;
};

// One token of one value head.
struct KdaDecodeHead {
  std::span<const double> q;        // [K], of the query/key head that serves this value head
  std::span<const double> k;        // [K], likewise
  std::span<const double> v;        // [V]
  std::span<const double> a;        // [K]
  std::span<const double> dt_bias;  // [K], or empty: no bias
  double b = 0;                     // logit of beta
  double a_log = 0;
};

// Updates `state` [V, K] and writes `out` [V]. Thread-safe.
void kda_decode_head(const KdaDecodeSettings& settings, const KdaDecodeHead& head,
                     std::span<double> state, std::span<double> out);

// A whole call; every tensor dense and row-major.
struct KdaDecodeCall {
  KdaDecodeSettings settings;
  std::int64_t batch = 0;
  std::int64_t heads = 0;        // H
  std::int64_t value_heads = 0;  // HV, a multiple of H
  std::int64_t k_size = 0;       // K
  std::int64_t v_size = 0;       // V
  std::int64_t pool = 0;
  std::span<const double> q;            // [batch, H, K]
  std::span<const double> k;            // [batch, H, K]
  std::span<const double> v;            // [batch, HV, V]
  std::span<const double> a;            // [batch, HV, K]
  std::span<const double> b;            // [batch, HV]
  std::span<const double> a_log;        // [HV]
  std::span<const double> dt_bias;      // [HV, K], or empty
  std::span<const std::int64_t> slots;  // [batch]; below 0 or from `pool` on: inactive
};

// Updates `state` [pool, HV, V, K] and writes `out` [batch, HV, V]; zeros for inactive slots.
void kda_decode(const KdaDecodeCall& call, std::span<double> state, std::span<double> out);

}  // namespace kiln::reference
