// SPDX-License-Identifier: Apache-2.0
// The random call of a kda_prefill trial: its sizes and its tensors.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "kiln/kda_prefill.h"
#include "runtime/reference/kda_prefill.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {

struct KdaPrefillSizes {
  std::int64_t heads, value_heads, k, v, pool;
  std::vector<std::int64_t> lengths;
  std::int64_t total;  // tokens, those of no sequence among them
  InitialState initial_state;
  bool ragged;
  ElementType io, gate_io, state;
  reference::KdaDecodeSettings settings;
  KdaLayout layout;

  std::int64_t gates() const { return settings.gate == KdaGate::scalar ? 1 : k; }
  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
  std::int64_t state_elements() const { return v * k; }
  double active_tokens() const {
    return std::accumulate(lengths.begin(), lengths.begin() + std::min(batch(), pool), 0.0);
  }
};

KdaPrefillSizes kda_prefill_sizes(const OpArguments& arguments, const Op& op, Random& random);

struct KdaPrefillTensors {
  TrialTensor q, k, v, a, b, a_log, dt_bias, state, slots, starts, out;
  std::optional<TrialTensor> workspace{};
};

Result<KdaPrefillTensors> create_kda_prefill(const TrialSite& site, const KdaPrefillSizes& sizes);
// Magnitudes as in a trained model: gates from almost open to almost shut. NaN in tokens of no
// sequence.
void fill_kda_prefill(KdaPrefillTensors& tensors, const KdaPrefillSizes& sizes, Random& random);

}  // namespace kiln
