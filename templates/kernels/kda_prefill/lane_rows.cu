// SPDX-License-Identifier: Apache-2.0
// kda_prefill as the recurrence over tokens: a warp keeps its state rows in registers (see
// kda/lane_rows.h) from the first token of a sequence to the last; no shared memory, no barrier.
// The next token's inputs are loading while a token is computed.
#include "kda/lane_rows.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slices.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"
#include "varlen/sequences.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kSteps = kKdaPrefillGpuRows / (kWarps * kBatchRows);  // of kBatchRows rows, per warp
static_assert(kSteps * kWarps * kBatchRows == kKdaPrefillGpuRows, "a block's rows are all taken");

// Which rows and columns of a head's state this lane works on.
struct Place {
  int hv;
  int first;  // row of this warp
  int group;
  int lane_in_group;
  KILN_DEVICE int column() const { return lane_in_group * kColumns; }
  KILN_DEVICE int step(int s) const { return first + s * kBatchRows; }
  KILN_DEVICE int own_row(int s) const {
    return row_of(step(s), lane_in_group % kRowsInFlight, group);
  }
};

// All that one token brings.
struct Inputs {
  Token token;
  float v[kSteps];  // of this lane's own rows
};

KILN_DEVICE Inputs load_inputs(const KdaPrefillParams& p, i64 token, const Place& place) {
  Inputs inputs;
  inputs.token = load_token(p, token, place.hv, place.column());
  const Global<const Io> v(static_cast<const Io*>(p.v.data) + head_offset(p.v, token, place.hv));
#pragma unroll
  for (int s = 0; s < kSteps; ++s) inputs.v[s] = to_float(v.load(place.own_row(s)));
  return inputs;
}

KILN_DEVICE Global<Io> out_of(const KdaPrefillParams& p, i64 token, int hv) {
  return Global<Io>(static_cast<Io*>(p.out) + token * p.out_token_stride + hv * p.out_head_stride);
}

struct State {
  Rows steps[kSteps];
};

KILN_DEVICE State initial_state(const KdaPrefillParams& p, const Global<float>& memory,
                                const Place& place) {
  State state;
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    if (p.zero_initial_state != 0) {
#pragma unroll
      for (int r = 0; r < kRowsInFlight; ++r) {
        state.steps[s].columns[r] = Columns{{0.0f, 0.0f, 0.0f, 0.0f}};
      }
    } else {
      state.steps[s] = load_rows(memory, place.step(s), place.group, place.column());
    }
  }
  return state;
}

// Takes the state through the tokens and writes their outputs.
KILN_DEVICE void run_tokens(const KdaPrefillParams& p, const GateWeights& weights,
                            const Sequence& tokens, const Place& place, State& state) {
  Inputs inputs = load_inputs(p, tokens.first, place);
  for (i64 t = 0; t < tokens.length; ++t) {
    const i64 token = tokens.first + t;
    Inputs coming = inputs;
    if (t + 1 < tokens.length) coming = load_inputs(p, token + 1, place);
    const Head head = head_of(p, weights, inputs.token);
    const Global<Io> out = out_of(p, token, place.hv);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const float o = advance_rows(head, inputs.v[s], state.steps[s], place.lane_in_group);
      if (place.lane_in_group < kRowsInFlight) out.store(place.own_row(s), from_float<Io>(o));
    }
    inputs = coming;
  }
}

}  // namespace kda_prefill_detail

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, 4) kda_prefill_lane_rows(KILN_PARAMS(KdaPrefillParams) p) {
  using namespace kda_prefill_detail;
  const i64 n = block_idx().x / shape::HV;
  const int slice = static_cast<int>(block_idx().y) * kKdaPrefillGpuRows;
  const Place place{static_cast<int>(block_idx().x % shape::HV),
                    slice + warp() * kSteps * kBatchRows, lane() / kGroup, lane() % kGroup};

  const GateWeights weights = load_gate_weights(p, place.hv, place.column());
  dependency_wait();
  launch_dependents();

  const Sequence tokens = sequence_at(Global<const i32>(p.cu_seqlens), n, p.total);
  const i64 slot = slot_of(p, n);
  if (slot < 0 || slot >= p.pool) {
    for (i64 t = 0; t < tokens.length; ++t) {
      clear_rows(out_of(p, tokens.first + t, place.hv), slice, kKdaPrefillGpuRows);
    }
    return;
  }
  const Global<float> memory(static_cast<float*>(p.state) + slot * p.state_slot_stride +
                             place.hv * p.state_head_stride);
  State state = initial_state(p, memory, place);
  if (tokens.length > 0) run_tokens(p, weights, tokens, place, state);
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    store_rows(memory, state.steps[s], place.step(s), place.group, place.column());
  }
}

}  // namespace kiln
