// SPDX-License-Identifier: Apache-2.0
// kda_decode of any number of tokens per sequence (see kda/token_loop.h), with every policy for
// where states go, and of any alignment: what no other kernel serves.
#include "kda/token_loop.h"
#include "kda_decode/params.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {
namespace kda_decode_detail {

using namespace kda_detail;

KILN_DEVICE i64 slot_of(const KdaDecodeParams& p, i64 n, i64 column) {
  return slot_at(p.slots, p.slot_bytes, n * p.slots_stride + column);
}

KILN_DEVICE i64 first_slot(const KdaDecodeParams& p, i64 n) {
  i64 column = 0;
  if (p.accepted != nullptr) {
    const i64 accepted = Global<const i32>(p.accepted).load(n);
    column = min(max(accepted, i64{1}), i64{p.slot_columns}) - 1;
  }
  return slot_of(p, n, column);
}

// Writes the state after each token to wherever the call wants it.
struct Writes {
  const KdaDecodeParams& p;
  const TilePlace& place;
  i64 n;
  i64 intermediate_slot;  // below 0: none
  Tiles& state;

  KILN_DEVICE void operator()(i64 t) const {
    if (intermediate_slot >= 0 && t < p.intermediate_tokens) {
      const Global<State> matrix = matrix_of(p.intermediate, intermediate_slot, place.hv);
      store_tiles(matrix.from(t * p.intermediate_token_stride), place, state);
    }
    if (p.state_write == kKdaWriteEach && t < p.slot_columns) {
      const i64 slot = slot_of(p, n, t);
      if (slot >= 0 && slot < p.state.slots) {
        store_tiles(matrix_of(p.state, slot, place.hv), place, state);
      }
    }
  }
};

KILN_DEVICE i64 intermediate_slot_of(const KdaDecodeParams& p, i64 n) {
  if (p.intermediate.data == nullptr) return -1;
  const i64 slot = slot_at(p.intermediate_slots, p.slot_bytes, n);
  return slot < p.intermediate.slots ? slot : -1;
}

}  // namespace kda_decode_detail

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, 2) kda_decode_several_tokens(KILN_PARAMS(KdaDecodeParams) p) {
  using namespace kda_decode_detail;
  const i64 n = block_idx().x / shape::HV;
  const int slice = static_cast<int>(block_idx().y) * kTokenRows;
  const TilePlace place(static_cast<int>(block_idx().x % shape::HV), slice);

  const GateWeights weights = load_gate_weights<Access::any>(p, place, place.hv);
  dependency_wait();
  launch_dependents();

  const Sequence tokens = tokens_of(p, n);
  const i64 slot = first_slot(p, n);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, n, tokens, place.hv, slice);
    return;
  }
  if (!place.has_rows(slice) || tokens.length == 0) return;
  const Global<State> matrix = matrix_of(p.state, slot, place.hv);
  Tiles state = load_tiles(matrix, place);
  run_tokens(p, weights, place, n, tokens, state,
             Writes{p, place, n, intermediate_slot_of(p, n), state});
  if (p.state_write == kKdaWriteLast) store_tiles(matrix, place, state);
}

}  // namespace kiln
