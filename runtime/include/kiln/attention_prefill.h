// SPDX-License-Identifier: Apache-2.0
// attention_prefill: attention of packed sequences of queries over packed keys and values.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// Sequence n has the queries cu_seqlens_q[n] to cu_seqlens_q[n+1] - 1 of all `total_q` and the keys
// cu_seqlens_kv[n] to cu_seqlens_kv[n+1] - 1 of all `total_kv`. For query i of its L_q and query
// head h (with key/value head g = h / (Hq / Hkv)), over the keys j of its L_kv that i sees, in
// fp32:
//
//   s_j      = scale q[i,h,:] . k[j,g,:]
//   lse[i,h] = log sum_j exp(s_j)                       natural logarithm
//   out[i,h] = sum_j exp(s_j - lse[i,h]) v[j,g,:]       D_vo
//
// With `causal`, query i sees the keys j <= i + L_kv - L_q: the last query sees the last key
// ("bottom-right"), so a sequence whose first keys were there before may be appended to. Otherwise
// it sees all. A query that sees no key (L_kv is 0, or smaller than L_q) gets out = 0, lse = -inf.
//
// Source of the maths: FlashAttention-2 (arXiv 2307.08691), its varlen function's conventions.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// q, k, v and out are dense in their last dimension and may have any stride in the others; lse may
// have any strides; cu_seqlens_* are contiguous. These two are read by the kernel alone: nothing on
// the host waits for them. They begin at 0, never fall, and end at most at total_q and total_kv;
// what lies beyond is cut off. The outputs of queries that belong to no sequence are not written.
struct AttentionPrefillArgs {
  DLTensor q;              // bf16 [total_q, Hq, D_qk]
  DLTensor k;              // bf16 [total_kv, Hkv, D_qk]
  DLTensor v;              // bf16 [total_kv, Hkv, D_vo]
  DLTensor cu_seqlens_q;   // i32 [B + 1]
  DLTensor cu_seqlens_kv;  // i32 [B + 1]
  DLTensor out;            // bf16 [total_q, Hq, D_vo], written

  std::optional<DLTensor> lse;  // f32 [total_q, Hq], written; none: not computed

  bool causal = true;
  std::optional<float> scale;  // default D_qk^-0.5
};

// Launches on `options.stream`; on the CPU it is done when this returns. New lengths, strides,
// another scale, or lse or none, never compile anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how;
// those of Runtime::select and Runtime::kernel.
KILN_API Result<void> attention_prefill(Runtime& runtime, const AttentionPrefillArgs& args,
                                        const CallOptions& options = {});

}  // namespace kiln
