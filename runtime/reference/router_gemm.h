// SPDX-License-Identifier: Apache-2.0
// router_gemm in fp64; shares nothing with the kernels. Inputs are what the kernel was given,
// widened: rounding them is the caller's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kiln::reference {

// Every tensor dense and row-major.
struct RouterGemmCall {
  std::int64_t tokens = 0;       // M
  std::int64_t experts = 0;      // N
  std::int64_t hidden = 0;       // K
  std::span<const double> a;     // [M, K]
  std::span<const double> w;     // [N, K]
  std::span<const double> bias;  // [N], or empty: none
};

// Writes `out` [M, N]: out[m, n] = bias[n] + sum over k of a[m, k] w[n, k]. Thread-safe.
void router_gemm(const RouterGemmCall& call, std::span<double> out);

// How far fp32 arithmetic may be from one such sum of `hidden` products, given the norms of the two
// rows: 4e-7 sqrt(K) |a| |w|. Products of 16-bit numbers are exact in fp32; the roundings of the K
// additions (6e-8 of the sum so far, which |a| |w| bounds) have random signs.
double router_gemm_allowed(std::int64_t hidden, double a_norm, double w_norm);

// One token's gate, as kiln/router_gemm.h states it, from the logits that the kernel had.
struct RouterGateCall {
  std::span<const double> logits;      // [N]
  std::span<const double> correction;  // [N], or empty: none
  bool softmax = false;                // else sigmoid
  int n_group = 1;
  int topk_group = 1;
  int topk = 1;
  bool renormalize = true;
  double scale = 1;
};

struct RouterChoice {
  std::vector<int> ids;
  // The smallest difference that decided anything; equal scores, which the index decides, do not
  // count. Below what fp32 gets wrong of a score, other ids may be as right.
  double margin = 0;
};
// Thread-safe, as the next.
RouterChoice router_choose(const RouterGateCall& call);

// The weights of these experts.
std::vector<double> router_weights(const RouterGateCall& call, std::span<const int> ids);

}  // namespace kiln::reference
