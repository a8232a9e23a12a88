// SPDX-License-Identifier: Apache-2.0
// kda_decode with registers only (see kda/lane_rows.h): no shared memory, no barrier. A block works
// on a V slice of one state matrix (grid y), so that few states still fill the chip. Each row
// passes through the registers once; while a warp works on some, as many again are loading.
#include "kda/lane_rows.h"
#include "kda_decode/params.h"
#include "kiln/dependent_launch.h"
#include "kiln/kernel.h"

namespace kiln {
namespace kda_decode_detail {

using namespace kda_detail;

// Where the state and the activations of one head are.
struct HeadMemory {
  Global<float> state;
  Global<const Io> v;
  Global<Io> out;
};

// Updates the rows, stores them, and writes their outputs.
KILN_DEVICE void update_rows(const HeadMemory& memory, const Head& head, Rows& rows, int first,
                             int group, int lane_in_group) {
  const int own_row = row_of(first, lane_in_group % kRowsInFlight, group);
  const float v = to_float(memory.v.load(own_row));
  const float o = advance_rows(head, v, rows, lane_in_group);
  if (lane_in_group < kRowsInFlight) memory.out.store(own_row, from_float<Io>(o));
  store_rows(memory.state, rows, first, group, lane_in_group * kColumns);
}

}  // namespace kda_decode_detail

// Grid: x counts the states (sequence, value head), y the slices of V. Block: 128 threads.
KILN_KERNEL(128, 4) kda_decode_warp_rows(KILN_PARAMS(KdaDecodeParams) p) {
  using namespace kda_decode_detail;
  const i64 n = block_idx().x / shape::HV;
  const int hv = static_cast<int>(block_idx().x % shape::HV);
  const int slice_rows = shape::V / static_cast<int>(grid_dim().y);
  const int slice = static_cast<int>(block_idx().y) * slice_rows;
  const int group = lane() / kGroup;
  const int lane_in_group = lane() % kGroup;
  const int column = lane_in_group * kColumns;

  const GateWeights weights = load_gate_weights(p, hv, column);
  dependency_wait();
  launch_dependents();

  const Global<Io> out(static_cast<Io*>(p.out) + n * p.out_token_stride + hv * p.out_head_stride);
  const i64 slot = slot_of(p, n);
  if (slot < 0 || slot >= p.pool) {
    clear_rows(out, slice, slice_rows);
    return;
  }
  const HeadMemory memory{
      Global<float>(static_cast<float*>(p.state) + slot * p.state_slot_stride +
                    hv * p.state_head_stride),
      Global<const Io>(static_cast<const Io*>(p.v.data) + head_offset(p.v, n, hv)), out};

  // The state depends on the slot alone: its first rows are under way while the gate is computed.
  int first = slice + warp() * kBatchRows;
  const int end = slice + slice_rows;
  if (first >= end) return;
  Rows rows = load_rows(memory.state, first, group, column);
  const Head head = head_of(p, weights, load_token(p, n, hv, column));
  for (; first < end; first += kWarps * kBatchRows) {
    const int next = first + kWarps * kBatchRows;
    Rows coming = rows;
    if (next < end) coming = load_rows(memory.state, next, group, column);
    update_rows(memory, head, rows, first, group, lane_in_group);
    rows = coming;
  }
}

}  // namespace kiln
