// SPDX-License-Identifier: Apache-2.0
// The arguments of one kda_prefill call, as every implementation gets them: what varies from call
// to call. Read by host and kernels alike.
#pragma once

#include "kda/params.h"

namespace kiln {

struct KdaPrefillParams : KdaParams {
  // 0: a sequence goes on from the state in its slot. 1: it begins with a zero state.
  int zero_initial_state;
  // [batch], of slot_bytes each: where sequence n goes on from, at n * initial_slots_stride;
  // outside of the pool: a zero state. Null: from `slots`. Not read with zero_initial_state.
  const void* initial_slots;
  long long initial_slots_stride;  // elements

  // As `state`: where the state of sequence n after (c + 1) * checkpoint_every tokens goes, c below
  // checkpoint_columns: into slot checkpoint_slots[n * checkpoint_slots_stride + c], and nowhere
  // where that is outside of the pool. Null data: no checkpoints.
  KdaPool checkpoints;
  const void* checkpoint_slots;
  long long checkpoint_slots_stride;  // elements
  long long checkpoint_columns;
  long long checkpoint_every;  // tokens, above 0

  // 16-byte aligned: what chunk_parallel prepares of every chunk. May be null.
  float* workspace;
  long long workspace_floats;
};

}  // namespace kiln
