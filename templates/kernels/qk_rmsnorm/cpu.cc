// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm on the native CPU. A work item is a few rows, both sides. A vector is read twice, the
// second time from the first-level cache.
#include "kiln/cpu.h"
#include "kiln/shape.h"
#include "kiln/storage_type.h"
#include "qk_rmsnorm/cpu_rows.h"
#include "qk_rmsnorm/params.h"

namespace kiln {
namespace qk_rmsnorm_detail {

using Io = StorageType<shape::io_is::bf16, shape::io_is::f16>;
using Weight = StorageType<shape::weights_is::bf16, shape::weights_is::f16>;

// Chains of additions under way at once, to cover the latency of one.
constexpr int kChains = 4;

template <int n>
KILN_DEVICE float sum_of_squares(const Io* x) {
  constexpr int kStep = kChains * vector_lanes;
  constexpr int kStepped = n / kStep * kStep;
  constexpr int kWhole = n / vector_lanes * vector_lanes;
  Floats sums[kChains] = {};
  for (int i = 0; i < kStepped; i += kStep) {
    for (int c = 0; c < kChains; ++c) {
      const Floats v = load(x + i + c * vector_lanes);
      sums[c] = fma(v, v, sums[c]);
    }
  }
  for (int i = kStepped; i < kWhole; i += vector_lanes) {
    const Floats v = load(x + i);
    sums[0] = fma(v, v, sums[0]);
  }
  float sum = horizontal_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (int i = kWhole; i < n; ++i) sum = fma(to_float(x[i]), to_float(x[i]), sum);
  return sum;
}

template <int n>
KILN_DEVICE void norm_vector(const Io* in, Io* out, const Weight* weight, float eps) {
  const float factor = rsqrt(divide(sum_of_squares<n>(in), static_cast<float>(n)) + eps);
  constexpr float kBias = shape::weight_bias ? 1.0f : 0.0f;
  constexpr int kWhole = n / vector_lanes * vector_lanes;
  for (int i = 0; i < kWhole; i += vector_lanes) {
    const Floats w = load(weight + i) + Floats(kBias);
    store(out + i, load(in + i) * Floats(factor) * w);
  }
  for (int i = kWhole; i < n; ++i) {
    out[i] = from_float<Io>(to_float(in[i]) * factor * (to_float(weight[i]) + kBias));
  }
}

template <int n>
KILN_DEVICE void norm_row(const QkRmsnormParams::Side& side, i64 row) {
  const Io* in = static_cast<const Io*>(side.in) + row * side.in_row_stride;
  Io* out = static_cast<Io*>(side.out) + row * side.out_row_stride;
  for (int head = 0; head < side.heads; ++head) {
    norm_vector<n>(in + head * side.in_head_stride, out + head * side.out_head_stride,
                   static_cast<const Weight*>(side.weight), side.eps);
  }
}

}  // namespace qk_rmsnorm_detail

KILN_CPU_KERNEL(qk_rmsnorm_cpu, host, params, first, last) {
  using namespace qk_rmsnorm_detail;
  const QkRmsnormParams& p = *static_cast<const QkRmsnormParams*>(params);
  const i64 item_rows = qk_rmsnorm_cpu_rows(static_cast<i64>(p.q.heads) * shape::Nq +
                                            static_cast<i64>(p.k.heads) * shape::Nk);
  const i64 end = min(last * item_rows, static_cast<i64>(p.rows));
  for (i64 row = first * item_rows; row < end; ++row) {
    norm_row<shape::Nq>(p.q, row);
    norm_row<shape::Nk>(p.k, row);
  }
}

}  // namespace kiln
