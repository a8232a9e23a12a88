// SPDX-License-Identifier: Apache-2.0
// kda_prefill as the recurrence over tokens: a warp keeps its state rows in registers from the
// first token of a sequence to the last (see kda/token_loop.h).
#include "kda/token_loop.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slots.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, 2) kda_prefill_lane_rows(KILN_PARAMS(KdaPrefillParams) p) {
  using namespace kda_prefill_detail;
  using namespace kda_detail;
  const i64 n = block_idx().x / shape::HV;
  const int slice = static_cast<int>(block_idx().y) * kTokenRows;
  const TilePlace place(static_cast<int>(block_idx().x % shape::HV), slice);

  const GateWeights weights = load_gate_weights<Access::any>(p, place, place.hv);
  dependency_wait();
  launch_dependents();

  const Sequence tokens = tokens_of(p, n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, n, tokens, place.hv, slice);
    return;
  }
  if (!place.has_rows(slice)) return;
  const Global<State> matrix = matrix_of(p.state, slot, place.hv);
  Tiles state = {};
  const i64 from = initial_slot(p, n, slot);
  if (from >= 0) state = load_tiles(matrix_of(p.state, from, place.hv), place);
  run_tokens(p, weights, place, n, tokens, state, [&](i64 t) {
    const i64 checkpoint = checkpoint_slot(p, n, t + 1);
    if (checkpoint >= 0) store_tiles(matrix_of(p.checkpoints, checkpoint, place.hv), place, state);
  });
  store_tiles(matrix, place, state);
}

}  // namespace kiln
