// SPDX-License-Identifier: Apache-2.0
// attention_decode: one query token per sequence over a paged key/value cache.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// For each sequence n and query head hq (with key/value head h = hq / (Hq / Hkv)), over its tokens
// j < L = seq_lens[n], in fp32:
//
//   s_j = scale q[n,hq,:] . k_j        k_j = k_cache[block_table[n, j / page_size], j % page_size,
//   h] lse[n,hq]   = log sum_j exp(s_j)   natural logarithm out[n,hq,:] = sum_j exp(s_j -
//   lse[n,hq]) v_j
//
// A sequence without tokens gives out = 0 and lse = -infinity. Source of the maths: FlashAttention
// (arXiv 2205.14135) for the softmax in one pass, Flash-Decoding for the splits, PagedAttention
// (arXiv 2309.06180) for the block table.
//
// MLA (DeepSeek-V2, arXiv 2405.04434) in its absorbed form is the same op with one latent cache:
// leave v_cache out, and the values are the first D_vo elements of the keys. DeepSeek-V3 and
// Kimi-Linear: D_qk 576, D_vo 512, Hkv 1.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// Every tensor is dense in its last dimension and may have any stride in the others, except
// seq_lens and workspace, which are contiguous. So a cache that is stored as [pages, Hkv,
// page_size, D]
// ("HND") is handed in as its transposed view.
struct AttentionDecodeArgs {
  DLTensor q;  // bf16 [N, Hq, D_qk], Hq a multiple of Hkv
  // bf16 [pages, page_size, Hkv, D_qk]; or, where Hkv is 1, [pages, page_size, D_qk]
  DLTensor k_cache;
  // bf16, as k_cache with D_vo in place of D_qk; none: see MLA above
  std::optional<DLTensor> v_cache;
  // i32 [N, pages_max]. The first ceil(L / page_size) entries of a row are pages of the cache,
  // which sequences may share; the others, like the slots behind a sequence's last token, may hold
  // anything.
  DLTensor block_table;
  DLTensor seq_lens;            // i32 [N], 0 to pages_max * page_size; negative counts as 0
  DLTensor out;                 // bf16 [N, Hq, D_vo], written
  std::optional<DLTensor> lse;  // f32 [N, Hq], written

  // f32 [any size]: room for what the splits compute. Contents undefined before and after; calls
  // that may run at the same time need one each. Needed where splits > 1; where the choice is left
  // open, without it every sequence is done in one piece, which is slow for few long sequences.
  std::optional<DLTensor> workspace;
  // Parts that each sequence is divided into, 1 to 1024; 0: chosen from N, Hq, Hkv, pages_max and
  // page_size, as far as the workspace goes. A fixed number gives each sequence the same result to
  // the last bit, whatever else is in the batch.
  int splits = 0;

  // Default D_qk^-0.5. Must be given with a latent cache: there it depends on the head size before
  // absorption ((128 + 64)^-0.5 for DeepSeek-V3).
  std::optional<float> scale;
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new N, length, page
// size, number of pages, stride, scale or number of splits never compiles anything, and nothing on
// the host depends on what the tensors hold, so that a call can be captured into a graph.
// Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how; those
// of Runtime::select and Runtime::kernel.
KILN_API Result<void> attention_decode(Runtime& runtime, const AttentionDecodeArgs& args,
                                       const CallOptions& options = {});

// The elements that `args.workspace` needs for `args.splits`; with splits left open, for the number
// that attention_decode would like best, which does not fall with larger pages_max. 0: needs none.
// Reads only the tensors' shapes: data and `args.workspace` may be missing. Thread-safe.
// Errors: invalid_argument, as attention_decode.
KILN_API Result<std::int64_t> attention_decode_workspace_floats(const AttentionDecodeArgs& args);

}  // namespace kiln
