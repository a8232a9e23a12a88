// SPDX-License-Identifier: Apache-2.0
// The arguments of one attention_prefill call, as every implementation gets them: what varies from
// call to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object.
//
// Hq query heads, Hkv key/value heads (query head h reads key/value head h / (Hq / Hkv)), D_qk
// elements of a query or key head, D_vo of a value or output head; the shape fixes these and the
// types.
#pragma once

namespace kiln {

struct AttentionPrefillParams {
  // Element [token, head, i] of a tensor is at token * token_stride + head * head_stride + i.
  struct Heads {
    const void* data;
    long long token_stride;  // elements
    long long head_stride;   // elements
  };

  Heads q;  // io type [total_q, Hq, D_qk]
  Heads k;  // io type [total_kv, Hkv, D_qk]
  Heads v;  // io type [total_kv, Hkv, D_vo]

  // io type [total_q, Hq, D_vo]
  void* out;
  long long out_token_stride;  // elements
  long long out_head_stride;   // elements

  // [total_q, Hq]: natural logarithm of the sum of e^score over the keys seen; null: not wanted.
  float* lse;
  long long lse_token_stride;  // elements
  long long lse_head_stride;   // elements

  // [batch + 1] each, dense: sequence n has the queries cu_seqlens_q[n] to cu_seqlens_q[n + 1] - 1
  // and the keys cu_seqlens_kv[n] to cu_seqlens_kv[n + 1] - 1. The outputs of queries of no
  // sequence are not written.
  const int* cu_seqlens_q;
  const int* cu_seqlens_kv;
  long long total_q;   // queries, at most 2^30
  long long total_kv;  // keys, at most 2^30

  int batch;    // sequences
  float scale;  // of a score; usually D_qk^-0.5
};
static_assert(sizeof(AttentionPrefillParams) == 8 * 20, "host and kernels agree on this layout");

}  // namespace kiln
