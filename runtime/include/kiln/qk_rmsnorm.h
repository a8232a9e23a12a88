// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm: the RMS norms of the queries and the keys of a layer, in one launch.
#pragma once

#include <dlpack/dlpack.h>

#include <memory>
#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// For each row m, each head h and both sides (q with q_weight and q_eps, k likewise), in fp32 and
// rounded once, at the end:
//
//   y[m,h,:] = x[m,h,:] / sqrt(mean(x[m,h,:]^2) + eps) * w
//
// with 1 + w in place of w where weight_bias is set; then, where asked for, a rotation of both
// sides and a quantisation of q. Source of the maths: Zhang and Sennrich, "Root Mean Square Layer
// Normalization" (arXiv 1910.07467); 1 + w as in Gemma. The squares are summed in fp32: vectors
// whose mean square is beyond its range come out as zeros.
//
// A tensor of rank 2 [M, N] is normed per row, one of rank 3 [M, H, N] per head; q and k need not
// have the same rank. N is 1 to 8192; M and H are 0 or more.

// Rotary position embedding (Su et al., arXiv 2104.09864) of the first R elements of each vector, R
// an even number up to the smaller of Nq and Nk, by angles that the caller gives as cos and sin:
//
//   halves (NeoX):   pairs (y[i], y[i + R/2])       interleaved:   pairs (y[2i], y[2i + 1])
//   (a, b) becomes (a cos[i] - b sin[i], b cos[i] + a sin[i])
//
// A row whose position is below 0 or P or above is inactive: its outputs are zeros.
struct QkRope {
  DLTensor positions;  // i32 or i64 [M], any stride
  DLTensor cos;        // f32, bf16 or f16 [P, R/2]
  DLTensor sin;        // type and shape of cos
  bool interleaved = false;
};

// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// q, k, the outputs, cos and sin are dense in their last dimension and may have any stride in the
// others (a 512-wide slice of rows of 576), at any address; fastest where vectors begin at
// multiples of 16 bytes. The weights are contiguous.
//
// An output may be its own input, with the same strides: the norm is then done in place. Otherwise
// no output overlaps another tensor.
struct QkRmsnormArgs {
  DLTensor q;         // bf16 or f16 [M, Nq] or [M, Hq, Nq]
  DLTensor k;         // type of q, [M, Nk] or [M, Hk, Nk]
  DLTensor q_weight;  // bf16, f16 or f32 [Nq]
  DLTensor k_weight;  // type of q_weight, [Nk]
  DLTensor q_out;     // type and shape of q; with q_scale e4m3 (or u8, for its bits); written
  DLTensor k_out;     // type and shape of k, written

  float q_eps = 1e-6F;
  float k_eps = 1e-6F;
  bool weight_bias = false;

  std::optional<QkRope> rope;
  // f32 [M, G] or [M, Hq, G], of any strides, written; without the last dimension where G is 1.
  // Each of the G parts of a vector then has scale = max(|y|, 1e-10) / 448 of its largest y, and
  // q_out holds y / scale as e4m3 (of the Open Compute Project, up to 448). G is 1, or Nq / G is a
  // power of two from 16 to 256. NaN stays NaN and has no part in a scale.
  std::optional<DLTensor> q_scale;
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new M, number of heads,
// stride, eps, type of positions or P never compiles anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how; those
// of Runtime::select and Runtime::kernel.
KILN_API Result<void> qk_rmsnorm(Runtime& runtime, const QkRmsnormArgs& args,
                                 const CallOptions& options = {});

// A tensor of the holder's own: its `deleter` is called once, when this goes.
struct ManagedTensorDeleter {
  void operator()(DLManagedTensor* tensor) const { tensor->deleter(tensor); }
};
using ManagedTensor = std::unique_ptr<DLManagedTensor, ManagedTensorDeleter>;

struct QkRmsnormOutputs {
  ManagedTensor q, k;  // dense; type and shape of the inputs
};

// The same by six arguments, with outputs that it allocates through the device's driver; release()
// hands one on as a DLPack capsule. They must stay until the stream has run the call. Not for graph
// capture, where nothing may be allocated: an invalid_argument says so. Errors else: as above, and
// out_of_memory.
KILN_API Result<QkRmsnormOutputs> fused_qk_rmsnorm(Runtime& runtime, const DLTensor& q,
                                                   const DLTensor& q_weight, float q_eps,
                                                   const DLTensor& k, const DLTensor& k_weight,
                                                   float k_eps, const CallOptions& options = {});

}  // namespace kiln
