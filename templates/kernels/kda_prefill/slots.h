// SPDX-License-Identifier: Apache-2.0
// Which slots a sequence begins from and leaves states in. Included after kda/cpu_rows.h or
// kda/lanes.h, whose slot_at it reads slots by.
#pragma once

#include "kda_prefill/params.h"

namespace kiln {
namespace kda_prefill_detail {

// Where the state of sequence n, whose own slot is `slot`, begins; below 0: with zeros.
KILN_DEVICE i64 initial_slot(const KdaPrefillParams& p, i64 n, i64 slot) {
  if (p.zero_initial_state != 0) return -1;
  if (p.initial_slots == nullptr) return slot;
  const i64 from = kda_detail::slot_at(p.initial_slots, p.slot_bytes, n * p.initial_slots_stride);
  return from < p.state.slots ? from : -1;
}

// Where the state after the first `done` tokens of sequence n goes; below 0: nowhere.
KILN_DEVICE i64 checkpoint_slot(const KdaPrefillParams& p, i64 n, i64 done) {
  if (p.checkpoints.data == nullptr || done % p.checkpoint_every != 0) return -1;
  const i64 column = done / p.checkpoint_every - 1;
  if (column < 0 || column >= p.checkpoint_columns) return -1;
  const i64 slot =
      kda_detail::slot_at(p.checkpoint_slots, p.slot_bytes, n * p.checkpoint_slots_stride + column);
  return slot < p.checkpoints.slots ? slot : -1;
}

}  // namespace kda_prefill_detail
}  // namespace kiln
