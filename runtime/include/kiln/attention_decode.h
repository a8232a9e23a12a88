// SPDX-License-Identifier: Apache-2.0
// attention_decode: a few query tokens per sequence over a paged key/value cache.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/attention_variant.h"
#include "kiln/runtime.h"

namespace kiln {

// For each sequence n of L tokens, query token t of T and query head hq, in fp32; h = hq / (Hq /
// Hkv) is its key/value head, i = L - T + t its place among the sequence's tokens:
//
//   k_j, v_j = rows (page, j % page_size, h) of k_cache and v_cache, page the (j / page_size)-th of
//              the sequence; times k_scale and v_scale where given
//   s_j = scale q[n,t,hq,:] . k_j + alibi_slopes[hq] (j - i)
//   s_j = softcap tanh(s_j / softcap)                            where softcap is not 0
//   for i - window_left <= j <= i; all other keys are not seen   (without window_left: for j <= i)
//   lse[n,t,hq]   = log(sum_j exp(s_j) + exp(sinks[hq]))         natural logarithm
//   out[n,t,hq,:] = sum_j exp(s_j - lse[n,t,hq]) v_j
//
// A query token that sees no key (L = 0, or i < 0) gives out = 0 and lse = -infinity, or the sink.
// A sink of -infinity is none. Source of the maths: FlashAttention (arXiv 2205.14135) for the
// softmax in one pass, Flash-Decoding for the splits, PagedAttention (arXiv 2309.06180) for the
// block table, StreamingLLM (2309.17453) for the sink, ALiBi (2108.12409) for the slopes.
// FlashInfer gives lse in base 2: lse / ln 2.
//
// MLA (DeepSeek-V2, arXiv 2405.04434) in its absorbed form is the same op with one latent cache:
// leave v_cache out, and the values are the first D_vo elements of the keys. DeepSeek-V3 and
// Kimi-Linear: D_qk 576, D_vo 512, Hkv 1.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// Every tensor is dense in its last dimension and may have any stride in the others, except
// seq_lens, indptr, last_page_lens, sinks, alibi_slopes and workspace, which are contiguous. So a
// cache that is stored as [pages, Hkv, page_size, D] ("HND") is handed in as its transposed view.
struct AttentionDecodeArgs {
  // bf16, f16 or f32 [N, T, Hq, D_qk], Hq a multiple of Hkv; or [N, Hq, D_qk], where T is 1
  DLTensor q;
  // bf16, f16, e4m3 or e5m2 [pages, page_size, Hkv, D_qk]; or, where Hkv is 1, [pages, page_size,
  // D_qk]. e4m3 and e5m2 are DLPack's kDLFloat8_e4m3fn (code 10) and kDLFloat8_e5m2 (code 12).
  DLTensor k_cache;
  // of k_cache's type, as k_cache with D_vo in place of D_qk; none: see MLA above
  std::optional<DLTensor> v_cache;

  // Where a sequence's pages are, in one of two ways. Pages may be shared among sequences; what
  // lies behind a sequence's last token, in tables and pages, may hold anything.
  //
  // By table: i32 [N, pages_max], of which the first ceil(L / page_size) entries of a row count,
  // and the tokens of each sequence, i32 [N], 0 to pages_max * page_size; negative counts as 0.
  DLTensor block_table{};
  DLTensor seq_lens{};
  // Or compressed (CSR): the pages of sequence n are indices[indptr[n]] to indices[indptr[n+1] -
  // 1], and its last page holds last_page_lens[n] tokens. i32 [N + 1], [any size], [N].
  std::optional<DLTensor> indptr, indices, last_page_lens;
  // With these: the most pages that a sequence has; what is beyond is cut off. 0: as many as there
  // are indices, which is right, but makes more of splits and workspace than are needed.
  std::int64_t pages_max = 0;

  DLTensor out;                 // q's type [N, T, Hq, D_vo] or [N, Hq, D_vo], as q; written
  std::optional<DLTensor> lse;  // f32 [N, T, Hq] or [N, Hq], as q; written

  // f32 [1], [Hkv] or [N, Hkv]: what the elements of the caches are to be multiplied by.
  std::optional<DLTensor> k_scale, v_scale;
  std::optional<DLTensor> sinks;         // f32 [Hq]
  std::optional<DLTensor> alibi_slopes;  // f32 [Hq]

  // Default D_qk^-0.5. Must be given with a latent cache: there it depends on the head size before
  // absorption ((128 + 64)^-0.5 for DeepSeek-V3).
  std::optional<float> scale;
  float softcap = 0;                        // above 0: scores are capped
  std::optional<std::int64_t> window_left;  // 0 or more

  // f32 [any size]: room for what the splits compute. Contents undefined before and after; calls
  // that may run at the same time need one each. Needed where splits > 1; where the choice is left
  // open, without it every sequence is done in one piece, which is slow for few long sequences.
  std::optional<DLTensor> workspace;
  // Parts that each sequence is divided into, 1 to 65,535; 0: chosen from N, T, Hq, Hkv, pages_max,
  // page_size and window_left, as far as the workspace goes. A fixed number gives each sequence the
  // same result to the last bit, whatever else is in the batch.
  int splits = 0;
  // Or the tokens of each part, rounded up to a multiple of 64; 0: see splits. A fixed size does
  // so, too, and keeps it while pages_max grows.
  std::int64_t split_tokens = 0;

  // What else becomes of the scores s_j that are seen: see kiln/attention_variant.h. One without
  // softmax has neither lse nor sinks: out = sum_j s_j v_j. Query token t is qo_idx t of qo_len T,
  // qo_token n T + t.
  AttentionVariantArgs variant{};
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new N, T, length, page
// size, number of pages, stride, window, scale or number of splits never compiles anything, nor do
// tables by CSR, sinks, slopes or scales; and nothing on the host depends on what the tensors hold,
// so that a call can be captured into a graph. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how, and
// for lse or sinks with a variant without softmax; those of Runtime::select and Runtime::kernel.
KILN_API Result<void> attention_decode(Runtime& runtime, const AttentionDecodeArgs& args,
                                       const CallOptions& options = {});

// The elements that `args.workspace` needs for `args.splits` or `args.split_tokens`; with both left
// open, for the number that attention_decode would like best, which does not fall with larger
// pages_max. 0: needs none. Reads only the tensors' shapes: data and `args.workspace` may be
// missing. Thread-safe.
// Errors: invalid_argument, as attention_decode.
KILN_API Result<std::int64_t> attention_decode_workspace_floats(const AttentionDecodeArgs& args);

}  // namespace kiln
