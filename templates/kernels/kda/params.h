// SPDX-License-Identifier: Apache-2.0
// What the calls of kda_decode and kda_prefill have in common, as host and kernels share it. Plain
// C types, and no address of a C++ object.
//
// H query/key heads, HV value heads (value head hv uses query/key head hv / (HV / H)), state
// matrices of V x K (layout VK) or K x V elements; the shape fixes H, HV, K, V and the types.
#pragma once

namespace kiln {

// Element [n, t, head, i] is at n * sequence_stride + t * token_stride + head * head_stride + i.
// With cu_seqlens, tokens count through all sequences and sequence_stride is 0.
struct KdaHeads {
  void* data;
  long long sequence_stride;  // elements, as the other two
  long long token_stride;
  long long head_stride;
};

// Element [slot, hv, ...] begins at slot * slot_stride + hv * head_stride; the matrix is dense.
struct KdaPool {
  void* data;
  long long slot_stride;  // elements
  long long head_stride;  // elements
  long long slots;
};

struct KdaParams {
  KdaHeads q;    // io type [.., H, K]
  KdaHeads k;    // io type [.., H, K]
  KdaHeads v;    // io type [.., HV, V]
  KdaHeads a;    // gate_io type [.., HV, K], with gate=scalar [.., HV]: the gate before its bias
  KdaHeads b;    // gate_io type [.., HV]
  KdaHeads out;  // io type [.., HV, V], written

  const float* a_log;    // [HV], dense; null: 0. Not read with gate=precomputed
  const float* dt_bias;  // [HV * K], with gate=scalar [HV], dense; null: no bias

  KdaPool state;  // state type [slots, HV, V, K] or [slots, HV, K, V], updated in place
  // [batch, ...]: the slot of sequence n at n * slots_stride, no slot twice. Below 0 or from
  // state.slots on: inactive; its output rows become zero and no state is touched.
  const void* slots;
  long long slots_stride;  // elements
  int slot_bytes;          // 4: int; 8: long long
  int batch;               // sequences

  // [batch + 1], dense: sequence n has the tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1, cut to
  // `tokens`. Tokens of no sequence are not read, and their outputs not written. Null: each
  // sequence has `tokens` tokens.
  const int* cu_seqlens;
  long long total;  // tokens in all; read with cu_seqlens alone
  long long tokens;

  float scale;               // of q, after the norm; usually K^-0.5
  float l2norm_eps;          // inside the square root
  float softplus_beta;       // softplus(x) = log(1 + e^(beta x)) / beta ...
  float softplus_threshold;  // ... and x itself where beta x is above this
  float lower_bound;         // with gate=lower_bound: of the decay's logarithm
};

}  // namespace kiln
