// SPDX-License-Identifier: Apache-2.0
// The arguments of one kda_decode call, as every implementation gets them: what varies from call to
// call. Read by host and kernels alike, so it holds plain C types and no address of a C++ object.
//
// One token per sequence n. H query/key heads, HV value heads (value head hv uses query/key head
// hv / (HV / H)), state matrices of V rows and K columns; the shape fixes H, HV, K, V and the
// types.
#pragma once

namespace kiln {

struct KdaDecodeParams {
  // Element [n, head, i] of a tensor is at n * token_stride + head * head_stride + i.
  struct Heads {
    const void* data;
    long long token_stride;  // elements
    long long head_stride;   // elements
  };

  Heads q;  // io type [batch, H, K]
  Heads k;  // io type [batch, H, K]
  Heads v;  // io type [batch, HV, V]
  Heads a;  // io type [batch, HV, K]: the gate before its bias
  // io type [batch, HV]: the logit of beta; [n, hv] at n * b_token_stride + hv.
  const void* b;
  long long b_token_stride;  // elements

  const float* a_log;    // [HV], dense
  const float* dt_bias;  // [HV * K], dense; null: no bias

  // io type [batch, HV, V]
  void* out;
  long long out_token_stride;  // elements
  long long out_head_stride;   // elements

  // float [pool, HV, V, K], updated in place; the matrix of a head is dense.
  void* state;
  long long state_slot_stride;  // elements
  long long state_head_stride;  // elements
  long long pool;               // slots

  // [batch], dense: the slot of each sequence, no slot twice. Below 0 or from `pool` on: inactive;
  // its output row becomes zero and no state is touched.
  const void* slots;
  int slot_bytes;  // 4: int; 8: long long

  int batch;
  float scale;               // of q, after the norm; usually K^-0.5
  float l2norm_eps;          // inside the square root
  float softplus_beta;       // softplus(x) = log(1 + e^(beta x)) / beta ...
  float softplus_threshold;  // ... and x itself where beta x is above this
};
static_assert(sizeof(KdaDecodeParams) == 8 * 27, "host and kernels agree on this layout");

}  // namespace kiln
