// SPDX-License-Identifier: Apache-2.0
// kda_prefill on the native CPU, as the recurrence over tokens. A work item takes a V slice of one
// state matrix, in fp32 in the worker's scratch memory and small enough for its caches, through a
// whole sequence (see kda/cpu_rows.h).
#include "kda/cpu_rows.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slices.h"
#include "kda_prefill/slots.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kSliceRows = kda_prefill_cpu_rows(kVk);
constexpr int kSlices = shape::V / kSliceRows;  // of a state matrix
static_assert(sizeof(float) * shape::K * kSliceRows <= kKilnCpuScratchBytes, "");

KILN_DEVICE void run_item(const KilnCpuHost* host, const KdaPrefillParams& p, i64 state_number,
                          int first) {
  const i64 n = state_number / shape::HV;
  const int hv = static_cast<int>(state_number % shape::HV);
  const Sequence tokens = tokens_of(p, n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, n, tokens, hv, first, kSliceRows);
    return;
  }
  const Slice<float> state{static_cast<float*>(host->scratch), kSliceRows, kSliceRows};
  const i64 from = initial_slot(p, n, slot);
  if (from < 0) {
    state.clear();
  } else {
    state.copy_from(slice_of(p.state, from, hv, first, kSliceRows));
  }
  for (i64 t = 0; t < tokens.length; ++t) {
    advance_token(p, n, tokens.first + t, hv, first, state);
    const i64 checkpoint = checkpoint_slot(p, n, t + 1);
    if (checkpoint < 0) continue;
    slice_of(p.checkpoints, checkpoint, hv, first, kSliceRows).copy_from(state);
  }
  slice_of(p.state, slot, hv, first, kSliceRows).copy_from(state);
}

}  // namespace kda_prefill_detail

KILN_CPU_KERNEL(kda_prefill_cpu, host, params, first, last) {
  using namespace kda_prefill_detail;
  const KdaPrefillParams& p = *static_cast<const KdaPrefillParams*>(params);
  for (i64 item = first; item < last; ++item) {
    run_item(host, p, item / kSlices, static_cast<int>(item % kSlices) * kSliceRows);
  }
}

}  // namespace kiln
