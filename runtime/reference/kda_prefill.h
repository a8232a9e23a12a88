// SPDX-License-Identifier: Apache-2.0
// kda_prefill in fp64: the recurrence over tokens, each step that of
// runtime/reference/kda_decode.h.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/reference/kda_decode.h"

namespace kiln::reference {

// One value head of one sequence; tensors dense and row-major. The rows of a state do not depend on
// one another: `v` and the state may hold any choice of them, and V is how many.
struct KdaPrefillHead {
  KdaDecodeSettings settings;
  std::size_t k_size = 0;     // K
  std::span<const double> q;  // [tokens, K], of the query/key head that serves this value head
  std::span<const double> k;  // [tokens, K], likewise
  std::span<const double> v;  // [tokens, V]
  std::span<const double> a;  // [tokens, K]; KdaGate::scalar: [tokens]
  std::span<const double> b;  // [tokens]
  std::span<const double> dt_bias;  // as a row of a, or empty: no bias
  double a_log = 0;
};

// Takes `state` [V, K] through all tokens and writes `out` [tokens, V]. Thread-safe.
void kda_prefill_head(const KdaPrefillHead& head, std::span<double> state, std::span<double> out);

}  // namespace kiln::reference
