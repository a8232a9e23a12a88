// SPDX-License-Identifier: Apache-2.0
// kda_decode: one token of Kimi Delta Attention for each sequence of a batch.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "kiln/runtime.h"

namespace kiln {

// For each sequence n and value head hv (with query/key head h = hv / (HV / H)), in fp32:
//
//   g = -exp(A_log[hv]) softplus(a[n,hv,:] + dt_bias[hv,:])       K
//   q' = scale q / sqrt(|q|^2 + eps),  k' = k / sqrt(|k|^2 + eps)  K, where qk_l2norm
//   S  = S diag(exp(g))                                            V x K, S = state[slots[n],hv]
//   S += sigmoid(b[n,hv]) (v - S k') k'^T
//   out[n,hv,:] = S q'                                             V
//
// Source of the maths: Kimi Linear (arXiv 2510.26692), in the formulation of
// flash-linear-attention's fused_recurrent_kda; state as [V, K] ("VK"), K contiguous.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// Every tensor is dense in its last dimension and may have any stride in the others, except
// A_log, dt_bias, slots and each head's matrix of `state`, which are contiguous.
struct KdaDecodeArgs {
  DLTensor q;        // bf16 [N, H, K]
  DLTensor k;        // bf16 [N, H, K]
  DLTensor v;        // bf16 [N, HV, V]
  DLTensor a;        // bf16 [N, HV, K]
  DLTensor b;        // bf16 [N, HV], the logit of beta
  DLTensor A_log;    // f32 [HV]
  DLTensor dt_bias;  // f32 [HV, K]
  DLTensor state;    // f32 [pool, HV, V, K], updated in place
  // i32 or i64 [N]: the slot of each sequence in the pool, no slot twice. A slot below 0 or from
  // `pool` on is inactive: its output row becomes zero and no state is touched.
  DLTensor slots;
  DLTensor out;  // bf16 [N, HV, V], written

  std::optional<float> scale;  // default K^-0.5
  bool qk_l2norm = true;
  float l2norm_eps = 1e-6F;
  float softplus_beta = 1.0F;
  float softplus_threshold = 20.0F;
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new N, pool size,
// stride, scale or threshold never compiles anything. Thread-safe. Errors: invalid_argument for
// tensors that do not fit the table above, saying which and how; those of Runtime::select and
// Runtime::kernel.
Result<void> kda_decode(Runtime& runtime, const KdaDecodeArgs& args,
                        const CallOptions& options = {});

}  // namespace kiln
