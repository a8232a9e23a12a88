// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm: the RMS norms of the queries and the keys of a layer, in one launch.
#pragma once

#include <dlpack/dlpack.h>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// For each row m, each head h and both sides (q with q_weight and q_eps, k likewise), in fp32 and
// rounded once, at the end:
//
//   out[m,h,:] = x[m,h,:] / sqrt(mean(x[m,h,:]^2) + eps) * w
//
// with 1 + w in place of w where weight_bias is set. Source of the maths: Zhang and Sennrich, "Root
// Mean Square Layer Normalization" (arXiv 1910.07467); 1 + w as in Gemma. The squares are summed in
// fp32: vectors whose mean square is beyond its range come out as zeros.
//
// A tensor of rank 2 [M, N] is normed per row, one of rank 3 [M, H, N] per head; q and k need not
// have the same rank. N is 1 to 8192; M and H are 0 or more.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// q, k and the outputs are dense in their last dimension and may have any stride in the others (a
// 512-wide slice of rows of 576), at any address; fastest where vectors begin at multiples of 16
// bytes. The weights are contiguous.
//
// An output may be its own input, with the same strides: the norm is then done in place. Otherwise
// no output overlaps another tensor.
struct QkRmsnormArgs {
  DLTensor q;         // bf16 or f16 [M, Nq] or [M, Hq, Nq]
  DLTensor k;         // type of q, [M, Nk] or [M, Hk, Nk]
  DLTensor q_weight;  // bf16, f16 or f32 [Nq]
  DLTensor k_weight;  // type of q_weight, [Nk]
  DLTensor q_out;     // type and shape of q, written
  DLTensor k_out;     // type and shape of k, written

  float q_eps = 1e-6F;
  float k_eps = 1e-6F;
  bool weight_bias = false;
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new M, number of heads,
// stride or eps never compiles anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how; those
// of Runtime::select and Runtime::kernel.
KILN_API Result<void> qk_rmsnorm(Runtime& runtime, const QkRmsnormArgs& args,
                                 const CallOptions& options = {});

}  // namespace kiln
