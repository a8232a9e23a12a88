// SPDX-License-Identifier: Apache-2.0
// attention_prefill: attention of sequences of queries over their keys and values.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/attention_variant.h"
#include "kiln/runtime.h"

namespace kiln {

// For query i of a sequence's L_q and query head h (with key/value head g = h / (Hq / Hkv)), over
// the keys j of its L_kv that i sees, in fp32:
//
//   s_j      = scale q[i,h,:] . k[j,g,:]                with softcap c: c tanh(s_j / c)
//   lse[i,h] = log (sum_j exp(s_j) + exp(sinks[h]))     natural logarithm
//   out[i,h] = sum_j exp(s_j - lse[i,h]) v[j,g,:]       D_vo
//
// Query i is aligned with key a = i + L_kv - L_q: the last query with the last key ("bottom-right",
// as FlashAttention from 2.1 on), so a sequence whose first keys were there before may be appended
// to. It sees the keys a - window_left <= j <= a + window_right that its bits of `mask` name; with
// `causal` window_right is 0. A query that sees no key gets out = 0 and lse = sinks[h], or -inf
// without sinks.
//
// Source of the maths: FlashAttention-2 (arXiv 2307.08691); window, softcap and bit masks as in
// FlashInfer, sinks as in gpt-oss.
//
// Queries come packed (q has 3 dimensions; sequence n has those from cu_seqlens_q[n] up to
// cu_seqlens_q[n+1]) or dense (4, without cu_seqlens_q). Keys and values come packed or dense
// likewise, or in pages (4, with block_table and kv_lens): token j of sequence n is at
// [block_table[n, j / page_size], j % page_size]. Both need not come alike.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// q, k, v and out hold one type, bf16 or f16, are dense in their last dimension and may have any
// stride in the others; lse may have any strides; the others are contiguous, but for the rows of
// block_table. What is in cu_seqlens_*, kv_lens, block_table and mask_offsets is read by the kernel
// alone: nothing on the host waits for it. cu_seqlens_* begin at 0, never fall, and end at most at
// total_q and total_kv; kv_lens are at most the keys that there is room for; what lies beyond is
// cut off, and pages outside of the cache count as zeros. The outputs of queries that belong to no
// sequence are not written.
struct AttentionPrefillArgs {
  DLTensor q;  // [total_q, Hq, D_qk] or [B, S_q, Hq, D_qk]
  DLTensor k;  // [total_kv, Hkv, D_qk], [B, S_kv, Hkv, D_qk] or [pages, page_size, Hkv, D_qk]
  DLTensor v;  // as k, with D_vo
  std::optional<DLTensor> cu_seqlens_q;   // i32 [B + 1], of packed queries
  std::optional<DLTensor> cu_seqlens_kv;  // i32 [B + 1], of packed keys
  DLTensor out;                           // as q, with D_vo; written

  std::optional<DLTensor> lse;  // f32, as q without its last dimension; written; none: not computed
  std::optional<DLTensor> kv_lens;      // i32 [B]; of pages, or of dense keys that end before S_kv
  std::optional<DLTensor> block_table;  // i32 [B, pages_max]
  std::optional<DLTensor> sinks;        // f32 [Hq]
  // u8, the bits of all sequences: bit i * L_kv + j, little end first in each byte, counted from
  // byte mask_offsets[n], says whether query i of sequence n sees key j.
  std::optional<DLTensor> mask;
  std::optional<DLTensor> mask_offsets;  // i64 [B]

  bool causal = true;
  std::int64_t window_left = -1;   // keys before its own that a query sees; -1: all
  std::int64_t window_right = -1;  // keys behind it; -1: all
  std::optional<float> scale;      // default D_qk^-0.5
  float softcap = 0;               // 0: none

  AttentionVariantArgs variant;
};

// Launches on `options.stream`; on the CPU it is done when this returns. New lengths, strides,
// windows, another scale or softcap, and lse, sinks or mask or none of these, never compile
// anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how, and
// for lse with a variant without softmax; those of Runtime::select and Runtime::kernel.
KILN_API Result<void> attention_prefill(Runtime& runtime, const AttentionPrefillArgs& args,
                                        const CallOptions& options = {});

}  // namespace kiln
