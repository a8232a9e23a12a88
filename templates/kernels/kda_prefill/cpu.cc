// SPDX-License-Identifier: Apache-2.0
// kda_prefill on the native CPU, as the recurrence over tokens. A work item takes a V slice of one
// state matrix, small enough for the first-level cache, through a whole sequence (see
// kda/cpu_rows.h).
#include "kda/cpu_rows.h"
#include "kda_prefill/params.h"
#include "kda_prefill/slices.h"
#include "varlen/sequences.h"

namespace kiln {
namespace kda_prefill_detail {

using namespace kda_detail;

constexpr int kSlices = shape::V / kKdaPrefillCpuRows;  // of a state matrix

KILN_DEVICE void run_item(const KdaPrefillParams& p, i64 state_number, int slice) {
  const i64 n = state_number / shape::HV;
  const int hv = static_cast<int>(state_number % shape::HV);
  const Sequence tokens = sequence_at(HostStarts{p.cu_seqlens}, n, p.total);
  Io* out = static_cast<Io*>(p.out) + hv * p.out_head_stride + slice;
  const i64 slot = slot_of(p, n);
  if (slot < 0 || slot >= p.pool) {
    for (i64 t = tokens.first; t < tokens.first + tokens.length; ++t) {
      for (int row = 0; row < kKdaPrefillCpuRows; ++row) {
        out[t * p.out_token_stride + row] = from_float<Io>(0.0f);
      }
    }
    return;
  }
  float* state = static_cast<float*>(p.state) + slot * p.state_slot_stride +
                 hv * p.state_head_stride + slice * shape::K;
  if (p.zero_initial_state != 0) {
    for (int i = 0; i < kKdaPrefillCpuRows * shape::K; i += vector_lanes) {
      store(state + i, Floats(0.0f));
    }
  }
  const Io* v = static_cast<const Io*>(p.v.data) + hv * p.v.head_stride + slice;
  for (i64 t = tokens.first; t < tokens.first + tokens.length; ++t) {
    Head head;
    load_head(p, t, hv, head);
    for (int row = 0; row < kKdaPrefillCpuRows; row += kRows) {
      update_rows(state + row * shape::K, head, v + t * p.v.token_stride + row,
                  out + t * p.out_token_stride + row);
    }
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
