// SPDX-License-Identifier: Apache-2.0
// The arguments of one kda_decode call, as every implementation gets them: what varies from call to
// call. Read by host and kernels alike.
#pragma once

#include "kda/params.h"

namespace kiln {

// Where the state of a sequence goes; in the order of KdaStateWrite.
enum KdaStateWriteCode : int {
  kKdaWriteLast,  // after the last token, into the slot that it came from
  kKdaWriteEach,  // after token t, into the slot of column t
  kKdaWriteNone,
};

struct KdaDecodeParams : KdaParams {
  // Columns of `slots`, which lie densely: sequence n begins with the state of slot
  // [n, accepted[n] - 1], the count cut to 1 ... slot_columns.
  int slot_columns;
  KdaStateWriteCode state_write;
  const int* accepted;  // [batch], dense; null: 1 each

  // The state after token t of sequence n goes to [intermediate_slots[n], t, hv], whatever
  // state_write says; nowhere where that slot is outside of the pool or t beyond the tokens that it
  // has room for. Null data: nowhere at all.
  KdaPool intermediate;
  long long intermediate_token_stride;  // elements
  long long intermediate_tokens;
  const void* intermediate_slots;  // [batch], dense, slot_bytes each
};

}  // namespace kiln
