// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_decode.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/attention_decode/params.h"
#include "templates/kernels/attention_decode/splits.h"

namespace kiln {
namespace {

struct Sizes {
  std::int64_t batch, q_heads, kv_heads, d_qk, d_vo, pages, page_size, pages_max;
  std::int64_t rows() const { return batch * q_heads; }
};

// Whether the cache comes without a dimension for its one head.
bool is_headless(const DLTensor& cache) {
  return cache.ndim == 3;
}

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, "attention_decode: " + std::move(message));
}

Result<void> check_cache_rank(const TensorCheck& check, const char* name, const DLTensor& cache) {
  return check.check_rank(name, cache, is_headless(cache) ? 3 : 4);
}

Result<void> check_numbers(const AttentionDecodeArgs& args, const Sizes& sizes) {
  if (sizes.kv_heads < 1 || sizes.q_heads % sizes.kv_heads != 0) {
    return bad(
        fmt::format("{} query heads on {} key/value heads; each key/value head serves as "
                    "many query heads",
                    sizes.q_heads, sizes.kv_heads));
  }
  if (sizes.page_size < 1) return bad("tensor 'k_cache' has pages of 0 tokens");
  if (!args.v_cache && sizes.d_vo > sizes.d_qk) {
    return bad(
        fmt::format("without v_cache the values are the first {} elements of keys that have "
                    "only {}",
                    sizes.d_vo, sizes.d_qk));
  }
  if (args.splits < 0 || args.splits > kAttentionDecodeSplitsMax) {
    return bad(fmt::format("splits is {}; 0 (chosen here) to {} are accepted", args.splits,
                           kAttentionDecodeSplitsMax));
  }
  for (const std::int64_t size : {sizes.batch, sizes.page_size, sizes.pages_max}) {
    if (size <= std::numeric_limits<std::int32_t>::max()) continue;
    return bad(fmt::format("a dimension of {}; at most {}", size,
                           std::numeric_limits<std::int32_t>::max()));
  }
  return {};
}

Result<Sizes> sizes_of(const AttentionDecodeArgs& args) {
  const TensorCheck check("attention_decode");
  KILN_TRY(check.check_rank("q", args.q, 3));
  KILN_TRY(check_cache_rank(check, "k_cache", args.k_cache));
  if (args.v_cache) KILN_TRY(check_cache_rank(check, "v_cache", *args.v_cache));
  KILN_TRY(check.check_rank("block_table", args.block_table, 2));
  KILN_TRY(check.check_rank("out", args.out, 3));
  const Sizes sizes{args.q.shape[0],
                    args.q.shape[1],
                    is_headless(args.k_cache) ? 1 : args.k_cache.shape[2],
                    args.q.shape[2],
                    args.out.shape[2],
                    args.k_cache.shape[0],
                    args.k_cache.shape[1],
                    args.block_table.shape[1]};
  KILN_TRY(check_numbers(args, sizes));
  return sizes;
}

Result<void> check_cache(TensorCheck& check, const char* name, const DLTensor& cache,
                         const Sizes& sizes, const Extent& width) {
  const Extent pages{"pages", sizes.pages};
  const Extent page_size{"page_size", sizes.page_size};
  if (is_headless(cache) && sizes.kv_heads == 1) {
    return check.check(name, cache, ElementType::bf16, {pages, page_size, width});
  }
  return check.check(name, cache, ElementType::bf16,
                     {pages, page_size, {"Hkv", sizes.kv_heads}, width});
}

Result<void> check_tensors(TensorCheck& check, const AttentionDecodeArgs& args,
                           const Sizes& sizes) {
  using enum ElementType;
  const Extent n{"N", sizes.batch};
  const Extent hq{"Hq", sizes.q_heads};
  const Extent d_qk{"D_qk", sizes.d_qk};
  const Extent d_vo{"D_vo", sizes.d_vo};
  KILN_TRY(check.check("q", args.q, bf16, {n, hq, d_qk}));
  KILN_TRY(check_cache(check, "k_cache", args.k_cache, sizes, d_qk));
  if (args.v_cache) KILN_TRY(check_cache(check, "v_cache", *args.v_cache, sizes, d_vo));
  KILN_TRY(check.check("block_table", args.block_table, i32, {n, {"pages_max", sizes.pages_max}}));
  KILN_TRY(check.check_dense("seq_lens", args.seq_lens, i32, {n}));
  KILN_TRY(check.check("out", args.out, bf16, {n, hq, d_vo}));
  if (args.lse) KILN_TRY(check.check("lse", *args.lse, f32, {n, hq}));
  if (args.workspace) {
    KILN_TRY(check.check_rank("workspace", *args.workspace, 1));
    KILN_TRY(check.check_dense("workspace", *args.workspace, f32,
                               {{"floats", args.workspace->shape[0]}}));
  }
  return {};
}

// The number of splits that serves these sizes best, whatever they need.
int splits_wanted(const AttentionDecodeArgs& args, const Sizes& sizes) {
  if (args.splits > 0) return args.splits;
  constexpr std::int64_t kHeadsOfBlock = 8;
  const std::int64_t group = sizes.q_heads / sizes.kv_heads;
  const std::int64_t tiles = (group + kHeadsOfBlock - 1) / kHeadsOfBlock;
  return attention_decode_splits(sizes.batch * sizes.kv_heads * tiles,
                                 sizes.pages_max * sizes.page_size);
}

// As many of them as the workspace has room for, if that is left to us.
Result<int> splits_of(const AttentionDecodeArgs& args, const Sizes& sizes) {
  int splits = splits_wanted(args, sizes);
  const std::int64_t floats = args.workspace ? args.workspace->shape[0] : 0;
  const auto needed = [&] {
    return attention_decode_partial_floats(sizes.rows(), splits, sizes.d_vo);
  };
  if (needed() <= floats) return splits;
  if (args.splits > 0) {
    return bad(fmt::format("{} splits need a workspace of {} floats, and {}", splits, needed(),
                           args.workspace ? fmt::format("it has {}", floats) : "there is none"));
  }
  while (needed() > floats) --splits;
  return splits;
}

AttentionDecodeParams::Pages pages_of(const DLTensor& cache) {
  return {address_of(cache), stride_of(cache, 0), stride_of(cache, 1),
          is_headless(cache) ? 0 : stride_of(cache, 2)};
}

AttentionDecodeParams params_of(const AttentionDecodeArgs& args, const Sizes& sizes, int splits) {
  AttentionDecodeParams params{};
  params.q = {address_of(args.q), stride_of(args.q, 0), stride_of(args.q, 1)};
  params.k = pages_of(args.k_cache);
  params.v = args.v_cache ? pages_of(*args.v_cache) : params.k;
  params.block_table = static_cast<const int*>(address_of(args.block_table));
  params.block_table_stride = stride_of(args.block_table, 0);
  params.seq_lens = static_cast<const int*>(address_of(args.seq_lens));
  params.out = address_of(args.out);
  params.out_token_stride = stride_of(args.out, 0);
  params.out_head_stride = stride_of(args.out, 1);
  if (args.lse) {
    params.lse = static_cast<float*>(address_of(*args.lse));
    params.lse_token_stride = stride_of(*args.lse, 0);
  }
  if (splits > 1) params.workspace = static_cast<float*>(address_of(*args.workspace));
  params.batch = static_cast<int>(sizes.batch);
  params.page_size = static_cast<int>(sizes.page_size);
  params.pages_max = static_cast<int>(sizes.pages_max);
  params.splits = splits;
  params.scale = args.scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.d_qk)));
  return params;
}

// Defaults of the op where the tensors do not say otherwise.
PackedShape shape_of(const Op& op, const AttentionDecodeArgs& args, const Sizes& sizes) {
  PackedShape shape(op);
  shape.set("Hq", sizes.q_heads);
  shape.set("Hkv", sizes.kv_heads);
  shape.set("D_qk", sizes.d_qk);
  shape.set("D_vo", sizes.d_vo);
  shape.set("v_in_k", !args.v_cache.has_value());
  return shape;
}

}  // namespace

Result<std::int64_t> attention_decode_workspace_floats(const AttentionDecodeArgs& args) {
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(args));
  return attention_decode_partial_floats(sizes.rows(), splits_wanted(args, sizes), sizes.d_vo);
}

Result<void> attention_decode(Runtime& runtime, const AttentionDecodeArgs& args,
                              const CallOptions& options) {
  TensorCheck check("attention_decode");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(args));
  KILN_TRY(check_tensors(check, args, sizes));
  if (!args.v_cache && !args.scale) {
    return bad("scale is missing: without v_cache (MLA) it cannot be told from the tensors");
  }
  KILN_TRY_ASSIGN(const int splits, splits_of(args, sizes));
  static const Op* const op = *find_op("attention_decode");
  const AttentionDecodeParams params = params_of(args, sizes, splits);
  return call_op(runtime, shape_of(*op, args, sizes), check.device(), &params, options);
}

}  // namespace kiln
