// SPDX-License-Identifier: Apache-2.0
// kda_decode of few states, in registers alone: no shared memory, no barrier. A block works on a V
// slice of one state matrix (grid y), so that few states still fill the chip. The state's first
// tile and all of the token's inputs are on their way before the gate is computed.
#include "kda_decode/single_token.h"

namespace kiln {

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, kda_decode_detail::kBlocksMin)
kda_decode_small_batch(KILN_PARAMS(KdaDecodeParams) p) {
  using namespace kda_decode_detail;
  const i64 n = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const int slice_rows = shape::V / static_cast<int>(grid_dim().y);
  const int slice = static_cast<int>(block_idx().y) * slice_rows;
  const int end = slice + slice_rows;
  const Place place;

  const GateWeights weights = load_gate_weights<Access::aligned>(p, place, hv);
  dependency_wait();
  launch_dependents();

  const Entry entry = entry_of(p, n);
  if (!entry.present) return;
  const Token token = load_token<Access::aligned>(p, place, n, entry.token, hv);
  const HeadMemory memory = memory_of(p, n, entry, hv);
  if (!entry.active(p.state)) {
    clear_values(memory.out, slice, slice_rows, thread_rank(), kKdaThreads);
    return;
  }
  int first = slice + warp() * kTileRows;
  if (first >= end) return;
  RawTile raw = load_tile<Access::aligned>(memory.state, place, first);
  Io v = memory.v.load(first + place.own_value());
  const Head head = head_of(p, weights, token);
  for (; first < end; first += kWarps * kTileRows) {
    const int next = first + kWarps * kTileRows;
    RawTile coming = raw;
    Io coming_v = v;
    if (next < end) {
      coming = load_tile<Access::aligned>(memory.state, place, next);
      coming_v = memory.v.load(next + place.own_value());
    }
    update_tile(memory, head, place, first, to_float(v), raw);
    raw = coming;
    v = coming_v;
  }
}

}  // namespace kiln
