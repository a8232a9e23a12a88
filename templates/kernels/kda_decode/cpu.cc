// SPDX-License-Identifier: Apache-2.0
// kda_decode on the native CPU. A work item is one state matrix or a V slice of it; its rows come
// from memory once, four at a time (see kda/cpu_rows.h).
#include "kda/cpu_rows.h"
#include "kda_decode/cpu_slices.h"
#include "kda_decode/params.h"

namespace kiln {
namespace kda_decode_detail {

using namespace kda_detail;

// How far ahead rows are asked for: the caches' own prefetchers stop at each 4 KiB page.
constexpr int kPrefetchRows = 8;
constexpr int kLineFloats = 16;

KILN_DEVICE void run_item(const KdaDecodeParams& p, i64 state_number, int first, int last) {
  const i64 n = state_number / shape::HV;
  const int hv = static_cast<int>(state_number % shape::HV);
  Io* out = static_cast<Io*>(p.out) + n * p.out_token_stride + hv * p.out_head_stride;
  const i64 slot = slot_of(p, n);
  if (slot < 0 || slot >= p.pool) {
    for (int row = first; row < last; ++row) out[row] = from_float<Io>(0.0f);
    return;
  }
  float* state =
      static_cast<float*>(p.state) + slot * p.state_slot_stride + hv * p.state_head_stride;
  const Io* v = static_cast<const Io*>(p.v.data) + n * p.v.token_stride + hv * p.v.head_stride;
  // The first rows are on their way while the gate is computed.
  for (int row = first; row < first + kPrefetchRows && row < last; ++row) {
    for (int i = 0; i < shape::K; i += kLineFloats) {
      prefetch_for_write(state + row * shape::K + i);
    }
  }
  Head head;
  load_head(p, n, hv, head);
  for (int row = first; row < last; row += kRows) {
    if (row + kPrefetchRows < last) {
      const float* ahead = state + (row + kPrefetchRows) * shape::K;
      for (int i = 0; i < kRows * shape::K; i += kLineFloats) prefetch_for_write(ahead + i);
    }
    update_rows(state + row * shape::K, head, v + row, out + row);
  }
}

}  // namespace kda_decode_detail

KILN_CPU_KERNEL(kda_decode_cpu, host, params, first, last) {
  using namespace kda_decode_detail;
  const KdaDecodeParams& p = *static_cast<const KdaDecodeParams*>(params);
  const i64 states = static_cast<i64>(p.batch) * shape::HV;
  const int slices = kda_decode_cpu_slices(states, shape::V);
  const int rows = shape::V / slices;
  for (i64 item = first; item < last; ++item) {
    const int row = static_cast<int>(item % slices) * rows;
    run_item(p, item / slices, row, row + rows);
  }
}

}  // namespace kiln
