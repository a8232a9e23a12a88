// SPDX-License-Identifier: Apache-2.0
// The arguments of one kda_prefill call, as every implementation gets them: what varies from call
// to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object. What it shares with KdaDecodeParams is named as there: the kernels' common text in kda/
// takes either.
//
// H query/key heads, HV value heads (value head hv uses query/key head hv / (HV / H)), state
// matrices of V rows and K columns; the shape fixes H, HV, K, V and the types.
#pragma once

namespace kiln {

struct KdaPrefillParams {
  // Element [token, head, i] of a tensor is at token * token_stride + head * head_stride + i.
  struct Heads {
    const void* data;
    long long token_stride;  // elements
    long long head_stride;   // elements
  };

  Heads q;  // io type [total, H, K]
  Heads k;  // io type [total, H, K]
  Heads v;  // io type [total, HV, V]
  Heads a;  // io type [total, HV, K]: the gate before its bias
  // io type [total, HV]: the logit of beta; [token, hv] at token * b_token_stride + hv.
  const void* b;
  long long b_token_stride;  // elements

  const float* a_log;    // [HV], dense
  const float* dt_bias;  // [HV * K], dense; null: no bias

  // io type [total, HV, V]
  void* out;
  long long out_token_stride;  // elements
  long long out_head_stride;   // elements

  // float [pool, HV, V, K]; the matrix of a head is dense.
  void* state;
  long long state_slot_stride;  // elements
  long long state_head_stride;  // elements
  long long pool;               // slots

  // [batch], dense: the slot of each sequence, no slot twice. Below 0 or from `pool` on: inactive;
  // its output rows become zero and no state is touched.
  const void* slots;
  int slot_bytes;  // 4: int; 8: long long

  // 0: a sequence goes on from the state in its slot. 1: it begins with a zero state.
  int zero_initial_state;

  // [batch + 1], dense: sequence n has the tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1. Tokens
  // of no sequence are not read, and their outputs not written.
  const int* cu_seqlens;
  long long total;  // tokens

  int batch;                 // sequences
  float scale;               // of q, after the norm; usually K^-0.5
  float l2norm_eps;          // inside the square root
  float softplus_beta;       // softplus(x) = log(1 + e^(beta x)) / beta ...
  float softplus_threshold;  // ... and x itself where beta x is above this
};
static_assert(sizeof(KdaPrefillParams) == 8 * 30, "host and kernels agree on this layout");

}  // namespace kiln
