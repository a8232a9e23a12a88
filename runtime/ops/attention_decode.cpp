// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/ops/attention_variant.h"
#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/attention_decode/params.h"
#include "templates/kernels/attention_decode/splits.h"

namespace kiln {
namespace {

struct Sizes {
  std::int64_t batch, q_tokens, q_heads, kv_heads, d_qk, d_vo, pages, page_size, pages_max;
  std::int64_t rows() const { return batch * q_tokens * q_heads; }
  std::int64_t group() const { return q_heads / kv_heads; }
};

struct Types {
  ElementType io, kv;
};

// Whether the cache comes without a dimension for its one head.
bool is_headless(const DLTensor& cache) {
  return cache.ndim == 3;
}
// Whether queries come without a dimension for their one token.
bool is_tokenless(const AttentionDecodeArgs& args) {
  return args.q.ndim == 3;
}
bool is_csr(const AttentionDecodeArgs& args) {
  return args.indptr.has_value();
}

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, "attention_decode: " + std::move(message));
}

Result<void> check_cache_rank(const TensorCheck& check, const char* name, const DLTensor& cache) {
  return check.check_rank(name, cache, is_headless(cache) ? 3 : 4);
}

Result<void> check_splits(const AttentionDecodeArgs& args) {
  if (args.splits < 0 || args.splits > kAttentionDecodeSplitsMax) {
    return bad(fmt::format("splits is {}; 0 (chosen here) to {} are accepted", args.splits,
                           kAttentionDecodeSplitsMax));
  }
  if (args.split_tokens < 0 || args.split_tokens > 1 << 30) {
    return bad(fmt::format("split_tokens is {}; 0 to 2^30 are accepted", args.split_tokens));
  }
  if (args.splits > 0 && args.split_tokens > 0) {
    return bad(fmt::format("splits is {} and split_tokens {}; one of them must be 0", args.splits,
                           args.split_tokens));
  }
  return {};
}

Result<void> check_numbers(const AttentionDecodeArgs& args, const Sizes& sizes) {
  if (sizes.kv_heads < 1 || sizes.q_heads % sizes.kv_heads != 0) {
    return bad(
        fmt::format("{} query heads on {} key/value heads; each key/value head serves as "
                    "many query heads",
                    sizes.q_heads, sizes.kv_heads));
  }
  if (sizes.q_tokens < 1) return bad("tensor 'q' has 0 tokens for each sequence");
  if (sizes.page_size < 1) return bad("tensor 'k_cache' has pages of 0 tokens");
  if (!args.v_cache && sizes.d_vo > sizes.d_qk) {
    return bad(
        fmt::format("without v_cache the values are the first {} elements of keys that have "
                    "only {}",
                    sizes.d_vo, sizes.d_qk));
  }
  if (!(args.softcap >= 0) || std::isinf(args.softcap)) {
    return bad(fmt::format("softcap is {}; 0 (none) or more is accepted", args.softcap));
  }
  if (args.window_left && *args.window_left < 0) {
    return bad(fmt::format("window_left is {}; 0 or more is accepted", *args.window_left));
  }
  for (const std::int64_t size : {sizes.batch, sizes.q_tokens, sizes.page_size, sizes.pages_max}) {
    if (size >= 0 && size <= std::numeric_limits<std::int32_t>::max()) continue;
    return bad(fmt::format("a dimension of {}; at most {}", size,
                           std::numeric_limits<std::int32_t>::max()));
  }
  const KnownAttentionVariant* const variant = args.variant.variant;
  if (variant && !variant->definition.softmax) {
    if (args.lse) return bad("'lse', and a variant without softmax, which has no such sum");
    if (args.sinks) return bad("'sinks', and a variant without softmax, whose sum they would join");
  }
  return check_splits(args);
}

Result<std::int64_t> pages_max_of(const TensorCheck& check, const AttentionDecodeArgs& args) {
  if (!is_csr(args)) {
    if (args.indices || args.last_page_lens) {
      return bad("indices and last_page_lens go with indptr, which is absent");
    }
    KILN_TRY(check.check_rank("block_table", args.block_table, 2));
    return args.block_table.shape[1];
  }
  if (!args.indices || !args.last_page_lens) {
    return bad("indptr goes with indices and last_page_lens, one of which is absent");
  }
  if (args.block_table.ndim != 0 || args.seq_lens.ndim != 0) {
    return bad("pages come by block_table and seq_lens, or by indptr, not by both");
  }
  KILN_TRY(check.check_rank("indices", *args.indices, 1));
  const std::int64_t most = args.indices->shape[0];
  return args.pages_max > 0 && args.pages_max < most ? args.pages_max : most;
}

Result<Sizes> sizes_of(const AttentionDecodeArgs& args) {
  const TensorCheck check("attention_decode");
  const int rank = is_tokenless(args) ? 3 : 4;
  KILN_TRY(check.check_rank("q", args.q, args.q.ndim == 4 ? 4 : 3));
  KILN_TRY(check_cache_rank(check, "k_cache", args.k_cache));
  if (args.v_cache) KILN_TRY(check_cache_rank(check, "v_cache", *args.v_cache));
  KILN_TRY(check.check_rank("out", args.out, rank));
  KILN_TRY_ASSIGN(const std::int64_t pages_max, pages_max_of(check, args));
  const Sizes sizes{args.q.shape[0],
                    is_tokenless(args) ? 1 : args.q.shape[1],
                    args.q.shape[rank - 2],
                    is_headless(args.k_cache) ? 1 : args.k_cache.shape[2],
                    args.q.shape[rank - 1],
                    args.out.shape[rank - 1],
                    args.k_cache.shape[0],
                    args.k_cache.shape[1],
                    pages_max};
  KILN_TRY(check_numbers(args, sizes));
  return sizes;
}

Result<Types> types_of(const TensorCheck& check, const AttentionDecodeArgs& args) {
  using enum ElementType;
  KILN_TRY_ASSIGN(const ElementType io, check.type_among("q", args.q, {bf16, f16, f32}));
  KILN_TRY_ASSIGN(const ElementType kv,
                  check.type_among("k_cache", args.k_cache, {bf16, f16, e4m3, e5m2}));
  return Types{io, kv};
}

Result<void> check_cache(TensorCheck& check, const char* name, const DLTensor& cache,
                         ElementType type, const Sizes& sizes, const Extent& width) {
  const Extent pages{"pages", sizes.pages};
  const Extent page_size{"page_size", sizes.page_size};
  if (is_headless(cache) && sizes.kv_heads == 1) {
    return check.check(name, cache, type, {pages, page_size, width});
  }
  return check.check(name, cache, type, {pages, page_size, {"Hkv", sizes.kv_heads}, width});
}

// A tensor of rows: [N, T, Hq, width], or without the T where the queries are.
Result<void> check_rows(TensorCheck& check, const char* name, const DLTensor& tensor,
                        ElementType type, const AttentionDecodeArgs& args, const Sizes& sizes,
                        const Extent& width) {
  const Extent n{"N", sizes.batch}, t{"T", sizes.q_tokens}, hq{"Hq", sizes.q_heads};
  if (is_tokenless(args)) return check.check(name, tensor, type, {n, hq, width});
  return check.check(name, tensor, type, {n, t, hq, width});
}

Result<void> check_pages(TensorCheck& check, const AttentionDecodeArgs& args, const Sizes& sizes) {
  using enum ElementType;
  const Extent n{"N", sizes.batch};
  if (!is_csr(args)) {
    KILN_TRY(
        check.check("block_table", args.block_table, i32, {n, {"pages_max", sizes.pages_max}}));
    return check.check_dense("seq_lens", args.seq_lens, i32, {n});
  }
  KILN_TRY(check.check_dense("indptr", *args.indptr, i32, {{"N + 1", sizes.batch + 1}}));
  KILN_TRY(check.check_dense("indices", *args.indices, i32, {{"pages", args.indices->shape[0]}}));
  return check.check_dense("last_page_lens", *args.last_page_lens, i32, {n});
}

Result<void> check_scale(TensorCheck& check, const char* name, const std::optional<DLTensor>& scale,
                         const Sizes& sizes) {
  if (!scale) return {};
  const Extent heads{"Hkv", sizes.kv_heads};
  if (scale->ndim == 2) {
    return check.check(name, *scale, ElementType::f32, {{"N", sizes.batch}, heads});
  }
  KILN_TRY(check.check_rank(name, *scale, 1));
  if (scale->shape[0] == 1) return check.check(name, *scale, ElementType::f32, {{"one", 1}});
  return check.check(name, *scale, ElementType::f32, {heads});
}

Result<void> check_tensors(TensorCheck& check, const AttentionDecodeArgs& args, const Sizes& sizes,
                           const Types& types) {
  using enum ElementType;
  const Extent hq{"Hq", sizes.q_heads};
  const Extent d_qk{"D_qk", sizes.d_qk};
  const Extent d_vo{"D_vo", sizes.d_vo};
  KILN_TRY(check_rows(check, "q", args.q, types.io, args, sizes, d_qk));
  KILN_TRY(check_cache(check, "k_cache", args.k_cache, types.kv, sizes, d_qk));
  if (args.v_cache) KILN_TRY(check_cache(check, "v_cache", *args.v_cache, types.kv, sizes, d_vo));
  KILN_TRY(check_pages(check, args, sizes));
  KILN_TRY(check_rows(check, "out", args.out, types.io, args, sizes, d_vo));
  if (args.lse && is_tokenless(args)) {
    KILN_TRY(check.check("lse", *args.lse, f32, {{"N", sizes.batch}, hq}));
  } else if (args.lse) {
    KILN_TRY(check.check("lse", *args.lse, f32, {{"N", sizes.batch}, {"T", sizes.q_tokens}, hq}));
  }
  KILN_TRY(check_scale(check, "k_scale", args.k_scale, sizes));
  KILN_TRY(check_scale(check, "v_scale", args.v_scale, sizes));
  if (args.sinks) KILN_TRY(check.check_dense("sinks", *args.sinks, f32, {hq}));
  if (args.alibi_slopes) KILN_TRY(check.check_dense("alibi_slopes", *args.alibi_slopes, f32, {hq}));
  if (args.workspace) {
    KILN_TRY(check.check_rank("workspace", *args.workspace, 1));
    KILN_TRY(check.check_dense("workspace", *args.workspace, f32,
                               {{"floats", args.workspace->shape[0]}}));
  }
  return {};
}

int window_of(const AttentionDecodeArgs& args) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return args.window_left ? static_cast<int>(std::min(*args.window_left, kMost)) : -1;
}
// As kernels take it.
std::int64_t split_tokens_of(const AttentionDecodeArgs& args) {
  constexpr std::int64_t kStep = kAttentionDecodeSplitStep;
  return (args.split_tokens + kStep - 1) / kStep * kStep;
}

// The number of splits that serves these sizes best, whatever they need.
Result<int> splits_wanted(const AttentionDecodeArgs& args, const Sizes& sizes) {
  if (args.splits > 0) return args.splits;
  const std::int64_t tokens_max = attention_decode_tokens_max(sizes.pages_max * sizes.page_size,
                                                              sizes.q_tokens, window_of(args));
  if (const std::int64_t size = split_tokens_of(args); size > 0) {
    const std::int64_t splits = std::max<std::int64_t>(1, (tokens_max + size - 1) / size);
    if (splits <= kAttentionDecodeSplitsMax) return static_cast<int>(splits);
    return bad(fmt::format("up to {} tokens in splits of {} make {} splits; at most {}", tokens_max,
                           size, splits, kAttentionDecodeSplitsMax));
  }
  constexpr std::int64_t kHeadsOfBlock = 8;
  const std::int64_t tiles = (sizes.group() + kHeadsOfBlock - 1) / kHeadsOfBlock * sizes.q_tokens;
  return attention_decode_splits(sizes.batch * sizes.kv_heads * tiles, tokens_max);
}

// As many of them as the workspace has room for, if that is left to us.
Result<int> splits_of(const AttentionDecodeArgs& args, const Sizes& sizes) {
  KILN_TRY_ASSIGN(int splits, splits_wanted(args, sizes));
  const std::int64_t floats = args.workspace ? args.workspace->shape[0] : 0;
  const auto needed = [&] {
    return attention_decode_partial_floats(sizes.rows(), splits, sizes.d_vo);
  };
  if (needed() <= floats) return splits;
  if (args.splits > 0 || args.split_tokens > 0) {
    return bad(fmt::format("{} splits need a workspace of {} floats, and {}", splits, needed(),
                           args.workspace ? fmt::format("it has {}", floats) : "there is none"));
  }
  while (needed() > floats) --splits;
  return splits;
}

// Field by field, into cleared parameters: a struct that is put together and then copied in larger
// pieces makes the processor wait for its own stores.
void set_rows(const DLTensor& tensor, const AttentionDecodeArgs& args,
              AttentionDecodeParams::Heads* heads) {
  const bool tokenless = is_tokenless(args);
  heads->data = address_of(tensor);
  heads->sequence_stride = stride_of(tensor, 0);
  if (!tokenless) heads->token_stride = stride_of(tensor, 1);
  heads->head_stride = stride_of(tensor, tokenless ? 1 : 2);
}

void set_pages_of(const DLTensor& cache, const std::optional<DLTensor>& scale,
                  AttentionDecodeParams::Pages* pages) {
  pages->data = address_of(cache);
  pages->page_stride = stride_of(cache, 0);
  pages->token_stride = stride_of(cache, 1);
  if (!is_headless(cache)) pages->head_stride = stride_of(cache, 2);
  if (!scale) return;
  pages->scale = static_cast<const float*>(address_of(*scale));
  if (scale->ndim == 2) pages->scale_sequence_stride = stride_of(*scale, 0);
  const int last = scale->ndim - 1;
  if (scale->shape[last] != 1) pages->scale_head_stride = stride_of(*scale, last);
}

const float* floats_of(const std::optional<DLTensor>& tensor) {
  return tensor ? static_cast<const float*>(address_of(*tensor)) : nullptr;
}
const int* ints_of(const DLTensor& tensor) {
  return static_cast<const int*>(address_of(tensor));
}

void set_pages(AttentionDecodeParams& params, const AttentionDecodeArgs& args) {
  if (is_csr(args)) {
    params.pages = ints_of(*args.indices);
    params.indptr = ints_of(*args.indptr);
    params.lengths = ints_of(*args.last_page_lens);
  } else {
    params.pages = ints_of(args.block_table);
    params.pages_stride = stride_of(args.block_table, 0);
    params.lengths = ints_of(args.seq_lens);
  }
}

AttentionDecodeParams params_of(const AttentionDecodeArgs& args, const Sizes& sizes, int splits) {
  AttentionDecodeParams params;
  clear_params(&params);
  set_rows(args.q, args, &params.q);
  set_rows(args.out, args, &params.out);
  set_pages_of(args.k_cache, args.k_scale, &params.k);
  // The values of a latent cache are keys, and so is their scale.
  const bool has_values = args.v_cache.has_value();
  set_pages_of(has_values ? *args.v_cache : args.k_cache,
               has_values || args.v_scale ? args.v_scale : args.k_scale, &params.v);
  set_pages(params, args);
  if (args.lse) {
    params.lse = static_cast<float*>(address_of(*args.lse));
    params.lse_sequence_stride = stride_of(*args.lse, 0);
    params.lse_token_stride = is_tokenless(args) ? 0 : stride_of(*args.lse, 1);
  }
  params.sinks = floats_of(args.sinks);
  params.alibi_slopes = floats_of(args.alibi_slopes);
  if (splits > 1) params.workspace = static_cast<float*>(address_of(*args.workspace));
  params.batch = static_cast<int>(sizes.batch);
  params.q_tokens = static_cast<int>(sizes.q_tokens);
  params.page_size = static_cast<int>(sizes.page_size);
  params.pages_max = static_cast<int>(sizes.pages_max);
  params.splits = splits;
  params.split_tokens = static_cast<int>(split_tokens_of(args));
  params.window_left = window_of(args);
  params.scale = args.scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.d_qk)));
  params.softcap = args.softcap;
  return params;
}

PackedShape shape_of(const Op& op, const AttentionDecodeArgs& args, const Sizes& sizes,
                     const Types& types) {
  PackedShape shape(op);
  shape.set("Hq", sizes.q_heads);
  shape.set("Hkv", sizes.kv_heads);
  shape.set("D_qk", sizes.d_qk);
  shape.set("D_vo", sizes.d_vo);
  shape.set("v_in_k", !args.v_cache.has_value());
  shape.set_word("io", tag_of(types.io));
  shape.set_word("kv", tag_of(types.kv));
  shape.set("softcap", args.softcap > 0);
  set_variant(shape, args.variant);
  return shape;
}

}  // namespace

Result<std::int64_t> attention_decode_workspace_floats(const AttentionDecodeArgs& args) {
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(args));
  KILN_TRY_ASSIGN(const int splits, splits_wanted(args, sizes));
  return attention_decode_partial_floats(sizes.rows(), splits, sizes.d_vo);
}

Result<void> attention_decode(Runtime& runtime, const AttentionDecodeArgs& args,
                              const CallOptions& options) {
  TensorCheck check("attention_decode");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(args));
  KILN_TRY_ASSIGN(const Types types, types_of(check, args));
  KILN_TRY(check_tensors(check, args, sizes, types));
  if (!args.v_cache && !args.scale) {
    return bad("scale is missing: without v_cache (MLA) it cannot be told from the tensors");
  }
  KILN_TRY_ASSIGN(const int splits, splits_of(args, sizes));
  static const Op* const op = *find_op("attention_decode");
  AttentionDecodeParams params = params_of(args, sizes, splits);
  KILN_TRY(read_variant(check, args.variant, params.variant));
  return call_op(runtime, shape_of(*op, args, sizes, types), check.device(), &params, options);
}

}  // namespace kiln
