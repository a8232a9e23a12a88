// SPDX-License-Identifier: Apache-2.0
// kda_decode: one or a few tokens of Kimi Delta Attention for each sequence of a batch.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// For each token t of sequence n and value head hv (with query/key head h = hv / (HV / H)), in
// fp32, where x = a[n,t,hv,:] + dt_bias[hv,:]:
//
//   g    = -exp(A_log[hv]) softplus(x)                        K   KdaGate::softplus
//          lower_bound sigmoid(exp(A_log[hv]) x)                  KdaGate::lower_bound
//          a[n,t,hv,:], without bias                              KdaGate::precomputed
//          as softplus, one number for the head: Gated DeltaNet   KdaGate::scalar
//   beta = sigmoid(b[n,t,hv]), 2 sigmoid(b[n,t,hv]) or b[n,t,hv]
//   q'   = scale q / sqrt(|q|^2 + eps),  k' = k / sqrt(|k|^2 + eps)  K, where qk_l2norm
//   S    = S diag(exp(g))                                     V x K
//   S   += beta (v - S k') k'^T
//   out[n,t,hv,:] = S q'                                      V
//
// Source of the maths: Kimi Linear (arXiv 2510.26692), in the formulation of
// flash-linear-attention's fused_recurrent_kda. A_log and dt_bias belong to value heads.
enum class KdaGate { softplus, lower_bound, precomputed, scalar };
enum class KdaBeta {
  logit,    // sigmoid(b)
  doubled,  // 2 sigmoid(b): eigenvalues of the transition down to -1
  given,    // b itself
};
enum class KdaLayout {
  VK,  // the state of a head is V x K, K contiguous
  KV,  // K x V, V contiguous
};

// Where the state of a sequence goes.
enum class KdaStateWrite {
  last,  // after its last token, into the slot that it began with
  each,  // after token t, into slots[n, t]
  none,  // into no slot: see `intermediate`
};

// Tensors are the caller's and must stay until the stream has run the call. All lie on one device,
// and need no alignment beyond that of their elements. Every tensor is dense in its last dimension
// and may have any stride in the others (views of one packed buffer), except A_log, dt_bias,
// accepted, cu_seqlens, intermediate_slots and each head's matrix of states, which are contiguous.
//
// Tokens, as [..] below: [N], one token for each sequence; [N, T], T tokens for each; or, with
// cu_seqlens, [total], the tokens of all sequences one after another.
//
// io is bf16, f16 or f32, the same for q, k, v and out; gate_io likewise for a and b; the state is
// f32 or bf16. K and V are 64, 128 or 256. A tensor whose `data` is null and `ndim` 0 is absent.
struct KdaDecodeArgs {
  DLTensor q;        // io [.., H, K]
  DLTensor k;        // io [.., H, K]
  DLTensor v;        // io [.., HV, V]
  DLTensor a;        // gate_io [.., HV, K]; KdaGate::scalar: [.., HV]
  DLTensor b;        // gate_io [.., HV]
  DLTensor A_log;    // f32 [HV]; absent with precomputed, may be with lower_bound: 0
  DLTensor dt_bias;  // f32 [HV, K], KdaGate::scalar: [HV]; may be absent: 0
  DLTensor state;    // [pool, HV, V, K], or [pool, HV, K, V] in KdaLayout::KV; updated in place
  // i32 or i64 [N]: the slot of each sequence in the pool, no slot twice. A slot below 0 or from
  // `pool` on is inactive: the output rows of its sequence become zero and no state is touched.
  // Or [N, S]: see `accepted` and KdaStateWrite::each.
  DLTensor slots;
  DLTensor out;  // io [.., HV, V], written

  // i32 [N + 1], or absent: sequence n has the tokens cu_seqlens[n] to cu_seqlens[n+1] - 1, at most
  // tokens_max of them; what lies beyond is cut off. It begins at 0, never falls, and is read by
  // the kernel alone. Outputs of tokens that belong to no sequence are not written; a sequence
  // without tokens keeps its state.
  DLTensor cu_seqlens{};
  std::int64_t tokens_max = 1;  // with cu_seqlens only

  // Several tokens (verify of a draft). Sequence n begins with the state of slots[n,
  // accepted[n]-1], the count cut to 1 ... S; accepted: i32 [N], or absent: 1. In slots that are
  // written a slot outside of the pool is passed over.
  DLTensor accepted{};
  KdaStateWrite state_write = KdaStateWrite::last;
  // Of the state's type, [pool', T', HV, V, K] (or K, V), or absent. The state after each token
  // t < T' of sequence n is written to [intermediate_slots[n], t]; nowhere where that slot is
  // outside of pool'. intermediate_slots: of the type of slots, [N].
  DLTensor intermediate{};
  DLTensor intermediate_slots{};

  KdaGate gate = KdaGate::softplus;
  KdaBeta beta = KdaBeta::logit;
  KdaLayout layout = KdaLayout::VK;
  bool qk_l2norm = true;

  // None of what follows is compiled in.
  std::optional<float> scale;  // default K^-0.5
  float l2norm_eps = 1e-6F;
  float softplus_beta = 1.0F;
  float softplus_threshold = 20.0F;
  float lower_bound = -5.0F;  // below 0
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new N, T, pool size,
// stride, alignment, scale or threshold compiles nothing that the first call of its kind (one token
// on few states, on many, several tokens) has not. T tokens in one call give the bits of T calls
// with one where the state is f32, and on one arch; with a bf16 state the state is rounded once
// instead of T times.
// Thread-safe. Errors: invalid_argument for tensors that do not fit the table above, saying which
// and how; those of Runtime::select and Runtime::kernel.
KILN_API Result<void> kda_decode(Runtime& runtime, const KdaDecodeArgs& args,
                                 const CallOptions& options = {});

}  // namespace kiln
