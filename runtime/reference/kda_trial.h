// SPDX-License-Identifier: Apache-2.0
// What the trials of both KDA ops share: sizes, tensors and their contents, and what is compared
// alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/reference/comparison.h"
#include "runtime/reference/kda_decode.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {

struct KdaTrialSizes {
  std::int64_t heads, value_heads, k, v, pool;
  std::int64_t tokens;                // of the longest sequence
  std::vector<std::int64_t> lengths;  // of each sequence
  std::int64_t total;                 // tokens in the tensors
  bool ragged;
  ElementType io, gate_io, state;
  reference::KdaDecodeSettings settings;
  KdaLayout layout;

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
  std::int64_t gates() const { return settings.gate == KdaGate::scalar ? 1 : k; }
  std::int64_t state_elements() const { return v * k; }
  // Sequences that do anything, and their tokens. Those beyond the pool are inactive.
  std::int64_t active() const;
  std::int64_t active_tokens() const;
  bool is_active(std::int64_t slot) const { return slot >= 0 && slot < pool; }
  // Where a slot's head begins in the states, and element [i, j] of its V x K matrix in it.
  std::int64_t head_at(std::int64_t slot, std::int64_t hv) const {
    return (slot * value_heads + hv) * state_elements();
  }
  std::int64_t element_at(std::int64_t i, std::int64_t j) const {
    return layout == KdaLayout::VK ? i * k + j : j * v + i;
  }
  // `state_passes`: how often an active state is read or written.
  double bytes_moved(int state_passes) const;
  // Of the recurrence: decay 1, two products with the state 4, the update 2, the correction 1.
  double operations() const;
};

// `loose_tokens`: how many tokens of no sequence come after the others, if lengths are ragged.
KdaTrialSizes kda_trial_sizes(const OpArguments& arguments, const Op& op, std::int64_t loose_tokens,
                              Random& random);

struct KdaTrialTensors {
  TrialTensor q, k, v, a, b, a_log, dt_bias, state, slots, starts, out;

  // Everything but the state and the output.
  Result<void> upload_inputs(Driver& driver);
  // The state as it was, the output poisoned.
  Result<void> reset(Driver& driver);
};

// `token_extents`: dimensions of the tokens, whose product is sizes.total.
Result<KdaTrialTensors> create_kda_tensors(const TrialSite& site, const KdaTrialSizes& sizes,
                                           const std::vector<std::int64_t>& token_extents);

// Magnitudes as in a trained model: gates from almost open to almost shut. NaN in tokens of no
// sequence.
void fill_kda_inputs(KdaTrialTensors& tensors, const KdaTrialSizes& sizes, Random& random);

// The members that KdaDecodeArgs and KdaPrefillArgs both have.
template <class Args>
Args kda_trial_args(const KdaTrialTensors& tensors, const KdaTrialSizes& sizes) {
  Args args{};
  args.q = tensors.q.dl();
  args.k = tensors.k.dl();
  args.v = tensors.v.dl();
  args.a = tensors.a.dl();
  args.b = tensors.b.dl();
  args.gate = sizes.settings.gate;
  args.beta = sizes.settings.beta;
  args.layout = sizes.layout;
  if (args.gate != KdaGate::precomputed) {
    args.A_log = tensors.a_log.dl();
    args.dt_bias = tensors.dt_bias.dl();
  }
  args.state = tensors.state.dl();
  args.slots = tensors.slots.dl();
  args.out = tensors.out.dl();
  args.qk_l2norm = sizes.settings.qk_l2norm;
  if (sizes.ragged) args.cu_seqlens = tensors.starts.dl();
  return args;
}

// Slots that no sequence uses are as they were, to the bit. `states`: what was downloaded.
void compare_unused_slots(const KdaTrialTensors& tensors, const KdaTrialSizes& sizes,
                          const Bytes& states, Comparison& error);

double largest_of(const std::vector<double>& values);

}  // namespace kiln
