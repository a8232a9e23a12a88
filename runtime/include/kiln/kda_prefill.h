// SPDX-License-Identifier: Apache-2.0
// kda_prefill: Kimi Delta Attention over the tokens of packed sequences.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// What state the sequences of a call begin with.
enum class InitialState {
  slot,  // what their slots hold: a sequence goes on
  zero,  // nothing: a sequence begins; what its slot held is forgotten
};

// Sequence n has the tokens cu_seqlens[n] to cu_seqlens[n+1] - 1 of all `total`. It takes the state
// of its slot through them one after the other, each as kda_decode does (see there for the maths,
// for what the tensors mean, and for its source), and leaves the final state in the slot: in the
// layout that kda_decode goes on from. A sequence cut into several calls gives the same bits as in
// one.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// Every tensor is dense in its last dimension and may have any stride in the others, except A_log,
// dt_bias, slots, cu_seqlens and each head's matrix of `state`, which are contiguous. cu_seqlens is
// read by the kernel alone: nothing on the host waits for it. It begins at 0, never falls, and ends
// at most at `total`; what lies beyond is cut off. The outputs of tokens that belong to no sequence
// are not written.
struct KdaPrefillArgs {
  DLTensor q;        // bf16 [total, H, K]
  DLTensor k;        // bf16 [total, H, K]
  DLTensor v;        // bf16 [total, HV, V]
  DLTensor a;        // bf16 [total, HV, K]
  DLTensor b;        // bf16 [total, HV], the logit of beta
  DLTensor A_log;    // f32 [HV]
  DLTensor dt_bias;  // f32 [HV, K]
  DLTensor state;    // f32 [pool, HV, V, K], updated in place
  // i32 or i64 [N]: the slot of each sequence in the pool, no slot twice. A slot below 0 or from
  // `pool` on is inactive: its output rows become zero and no state is touched.
  DLTensor slots;
  DLTensor cu_seqlens;  // i32 [N + 1]
  DLTensor out;         // bf16 [total, HV, V], written

  InitialState initial_state = InitialState::slot;
  std::optional<float> scale;  // default K^-0.5
  bool qk_l2norm = true;
  float l2norm_eps = 1e-6F;
  float softplus_beta = 1.0F;
  float softplus_threshold = 20.0F;
};

// Launches on `options.stream`; on the CPU it is done when this returns. New lengths, another pool
// size, stride, scale, threshold or initial state never compile anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how;
// those of Runtime::select and Runtime::kernel.
KILN_API Result<void> kda_prefill(Runtime& runtime, const KdaPrefillArgs& args,
                                  const CallOptions& options = {});

}  // namespace kiln
