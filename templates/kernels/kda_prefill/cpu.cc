// SPDX-License-Identifier: Apache-2.0
// kda_prefill on the native CPU, as the recurrence over tokens. A work item takes a V slice of one
// state matrix, small enough for the first-level cache, through a whole sequence (see
// kda/cpu_rows.h).
#include "kda/cpu_rows.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slices.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kSlices = shape::V / kKdaPrefillCpuRows;  // of a state matrix

KILN_DEVICE void run_item(const KdaPrefillParams& p, i64 state_number, int first) {
  const i64 n = state_number / shape::HV;
  const int hv = static_cast<int>(state_number % shape::HV);
  const Sequence tokens = tokens_of(p, n);
  const i64 slot = slot_at(p.slots, p.slot_bytes, n * p.slots_stride);
  if (slot < 0 || slot >= p.state.slots) {
    clear_tokens(p, n, tokens, hv, first, kKdaPrefillCpuRows);
    return;
  }
  const Slice<State> state = slice_of(p.state, slot, hv, first, kKdaPrefillCpuRows);
  if (p.zero_initial_state != 0) state.clear();
  for (i64 t = tokens.first; t < tokens.first + tokens.length; ++t) {
    advance_token(p, n, t, hv, first, state);
  }
}

}  // namespace kda_prefill_detail

KILN_CPU_KERNEL(kda_prefill_cpu, host, params, first, last) {
  using namespace kda_prefill_detail;
  const KdaPrefillParams& p = *static_cast<const KdaPrefillParams*>(params);
  for (i64 item = first; item < last; ++item) {
    run_item(p, item / kSlices, static_cast<int>(item % kSlices) * kKdaPrefillCpuRows);
  }
}

}  // namespace kiln
