// SPDX-License-Identifier: Apache-2.0
// kda_prefill: Kimi Delta Attention over the tokens of sequences.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/kda_decode.h"
#include "kiln/runtime.h"

namespace kiln {

// What state the sequences of a call begin with.
enum class InitialState {
  slot,  // what their slots hold: a sequence goes on
  zero,  // nothing: a sequence begins; what its slot held is forgotten
};

// Takes the state of each sequence through its tokens one after the other, each as kda_decode does
// (see there for the maths, for the gates and for its source), and leaves the final state in the
// sequence's slot, in the layout that kda_decode goes on from.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device,
// and need no alignment beyond that of their elements. Every tensor is dense in its last dimension
// and may have any stride in the others, except A_log, dt_bias, cu_seqlens, workspace and each
// head's matrix of states, which are contiguous.
//
// Tokens, as [..] below: with cu_seqlens, [total], the tokens of all sequences one after another:
// sequence n has the tokens cu_seqlens[n] to cu_seqlens[n+1] - 1. Without, [N, T], T tokens for
// each sequence.
//
// io is bf16, f16 or f32, the same for q, k, v and out; gate_io likewise for a and b; the state is
// f32 or bf16. K and V are 64, 128 or 256. A tensor whose `data` is null and `ndim` 0 is absent.
struct KdaPrefillArgs {
  DLTensor q;        // io [.., H, K]
  DLTensor k;        // io [.., H, K]
  DLTensor v;        // io [.., HV, V]
  DLTensor a;        // gate_io [.., HV, K]; KdaGate::scalar: [.., HV]
  DLTensor b;        // gate_io [.., HV]
  DLTensor A_log;    // f32 [HV]; absent with precomputed, may be with lower_bound: 0
  DLTensor dt_bias;  // f32 [HV, K], KdaGate::scalar: [HV]; may be absent: 0
  DLTensor state;    // [pool, HV, V, K], or [pool, HV, K, V] in KdaLayout::KV; updated in place
  // i32 or i64 [N]: the slot of each sequence in the pool, no slot twice. A slot below 0 or from
  // `pool` on is inactive: its output rows become zero and no state is touched.
  DLTensor slots;
  // i32 [N + 1], or absent. Read by the kernel alone: nothing on the host waits for it. It begins
  // at 0, never falls, and ends at most at `total`; what lies beyond is cut off. The outputs of
  // tokens that belong to no sequence are not written. The state after no token is the initial one.
  DLTensor cu_seqlens;
  DLTensor out;  // io [.., HV, V], written

  InitialState initial_state = InitialState::slot;
  // Of the type of slots, [N], or absent: the slots of `state` that sequences begin from, where
  // these are not their own (a cached prefix, say). Outside of the pool: a zero state. No sequence
  // of the call may write such a slot but the one that begins from it. Not with InitialState::zero.
  DLTensor initial_slots{};
  // States on the way, for a cache of prefixes: the state of sequence n after (c + 1) *
  // checkpoint_every tokens goes into slot checkpoint_slots[n, c] of `checkpoints`, and nowhere
  // where that is outside of it. checkpoints: of the state's type, [pool', HV, V, K] (or K, V), or
  // absent; `state` itself may be it. checkpoint_slots: of the type of slots, [N, C].
  DLTensor checkpoints{};
  DLTensor checkpoint_slots{};
  std::int64_t checkpoint_every = 64;  // tokens; multiples of 64 are the fastest

  // f32 [any size], 16-byte aligned, or absent: room by which a GPU works on all chunks of a
  // sequence at once, where kda_prefill_workspace_floats() tells how much that takes; with less,
  // each head goes through its sequence on its own, which is slow for few long sequences. Contents
  // undefined before and after; calls that may run at the same time need one each.
  DLTensor workspace{};

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

// Launches on `options.stream`; on the CPU it is done when this returns. New lengths, another pool
// size, stride, scale, threshold or initial state never compile anything.
// Thread-safe. Errors: invalid_argument for tensors that do not fit the table above, saying which
// and how; those of Runtime::select and Runtime::kernel.
KILN_API Result<void> kda_prefill(Runtime& runtime, const KdaPrefillArgs& args,
                                  const CallOptions& options = {});

// The elements that `args.workspace` needs to be of use: about K * 13 for each token and value
// head. 0: no implementation takes one for this K. Reads only the tensors' shapes: data and
// `args.workspace` may be missing. Thread-safe.
// Errors: invalid_argument, as kda_prefill.
KILN_API Result<std::int64_t> kda_prefill_workspace_floats(const KdaPrefillArgs& args);

}  // namespace kiln
