// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_prefill.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/ops/attention_variant.h"
#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/attention_prefill/params.h"

namespace kiln {
namespace {

enum class Layout { packed, dense, paged };

struct Sizes {
  Layout q_layout, kv_layout;
  ElementType io;
  std::int64_t q_heads, kv_heads, d_qk, d_vo, sequences;
  std::int64_t q_len, kv_len;  // of each sequence, where not packed; of pages: room
  std::int64_t total_q, total_kv;
};

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, "attention_prefill: " + std::move(message));
}

// The layout that the dimensions and the tensors beside them speak of.
Result<Layout> q_layout_of(const TensorCheck& check, const AttentionPrefillArgs& args) {
  if (args.cu_seqlens_q) {
    KILN_TRY(check.check_rank("q", args.q, 3));
    return Layout::packed;
  }
  if (args.q.ndim == 3) return bad("tensor 'q' is packed (3 dimensions) without 'cu_seqlens_q'");
  KILN_TRY(check.check_rank("q", args.q, 4));
  return Layout::dense;
}
Result<Layout> kv_layout_of(const TensorCheck& check, const AttentionPrefillArgs& args) {
  if (args.cu_seqlens_kv) {
    if (args.block_table) return bad("'block_table' and 'cu_seqlens_kv': pages or packed keys");
    if (args.kv_lens) return bad("'kv_lens' and 'cu_seqlens_kv' both say how long keys are");
    KILN_TRY(check.check_rank("v", args.v, 3));
    return Layout::packed;
  }
  if (!args.block_table && args.v.ndim == 3) {
    return bad("tensor 'v' is packed (3 dimensions) without 'cu_seqlens_kv'");
  }
  KILN_TRY(check.check_rank("v", args.v, 4));
  if (!args.block_table) return Layout::dense;
  if (!args.kv_lens) return bad("'block_table' without 'kv_lens'");
  return Layout::paged;
}

// That products of two stay in range.
Result<void> check_length(const char* name, std::int64_t length) {
  if (length <= INT32_MAX) return {};
  return bad(fmt::format("{} is {}; at most {}", name, length, INT32_MAX));
}

Result<void> set_query_lengths(const TensorCheck& check, const AttentionPrefillArgs& args,
                               Sizes& sizes) {
  if (sizes.q_layout == Layout::dense) {
    sizes.sequences = args.q.shape[0];
    sizes.q_len = args.q.shape[1];
    KILN_TRY(check_length("B", sizes.sequences));
    KILN_TRY(check_length("S_q", sizes.q_len));
    sizes.total_q = sizes.sequences * sizes.q_len;
    return {};
  }
  KILN_TRY(check.check_rank("cu_seqlens_q", *args.cu_seqlens_q, 1));
  sizes.sequences = args.cu_seqlens_q->shape[0] - 1;
  sizes.total_q = args.q.shape[0];
  if (sizes.sequences < 0) {
    return bad("tensor 'cu_seqlens_q' is empty; it has one element more than there are sequences");
  }
  return check_length("B", sizes.sequences);
}
Result<void> set_key_lengths(const TensorCheck& check, const AttentionPrefillArgs& args,
                             Sizes& sizes) {
  if (sizes.kv_layout == Layout::packed) {
    sizes.total_kv = args.v.shape[0];
    return {};
  }
  sizes.kv_len = args.v.shape[1];
  KILN_TRY(check_length("S_kv", sizes.kv_len));
  if (sizes.kv_layout == Layout::paged) {
    KILN_TRY(check.check_rank("block_table", *args.block_table, 2));
    KILN_TRY(check_length("pages_max", args.block_table->shape[1]));
    if (sizes.kv_len < 1) return bad("tensor 'v' has pages of 0 tokens");
    sizes.kv_len *= args.block_table->shape[1];
    KILN_TRY(check_length("page_size * pages_max", sizes.kv_len));
  }
  sizes.total_kv = sizes.sequences * sizes.kv_len;
  return {};
}

Result<Sizes> sizes_of(const TensorCheck& check, const AttentionPrefillArgs& args) {
  Sizes sizes{};
  KILN_TRY_ASSIGN(sizes.q_layout, q_layout_of(check, args));
  KILN_TRY_ASSIGN(sizes.kv_layout, kv_layout_of(check, args));
  KILN_TRY_ASSIGN(sizes.io, check.type_among("q", args.q, {ElementType::bf16, ElementType::f16}));
  const int q_dims = args.q.ndim, kv_dims = args.v.ndim;
  sizes.q_heads = args.q.shape[q_dims - 2];
  sizes.d_qk = args.q.shape[q_dims - 1];
  sizes.kv_heads = args.v.shape[kv_dims - 2];
  sizes.d_vo = args.v.shape[kv_dims - 1];
  if (sizes.q_heads < 1 || sizes.kv_heads < 1 || sizes.q_heads % sizes.kv_heads != 0) {
    return bad(
        fmt::format("tensor 'q' has {} heads and tensor 'v' {}; each of one or more "
                    "key/value heads serves as many query heads",
                    sizes.q_heads, sizes.kv_heads));
  }
  KILN_TRY(set_query_lengths(check, args, sizes));
  KILN_TRY(set_key_lengths(check, args, sizes));
  return sizes;
}

// A tensor of queries, or of keys, with `size` elements a head.
Result<void> check_queries(TensorCheck& check, const char* name, const DLTensor& tensor,
                           const Sizes& sizes, const Extent& size) {
  const Extent heads{"Hq", sizes.q_heads};
  if (sizes.q_layout == Layout::packed) {
    return check.check(name, tensor, sizes.io, {{"total_q", sizes.total_q}, heads, size});
  }
  return check.check(name, tensor, sizes.io,
                     {{"B", sizes.sequences}, {"S_q", sizes.q_len}, heads, size});
}
Result<void> check_keys(TensorCheck& check, const char* name, const DLTensor& tensor,
                        const AttentionPrefillArgs& args, const Sizes& sizes, const Extent& size) {
  const Extent heads{"Hkv", sizes.kv_heads};
  switch (sizes.kv_layout) {
    case Layout::packed:
      return check.check(name, tensor, sizes.io, {{"total_kv", sizes.total_kv}, heads, size});
    case Layout::dense:
      return check.check(name, tensor, sizes.io,
                         {{"B", sizes.sequences}, {"S_kv", sizes.kv_len}, heads, size});
    case Layout::paged:
      break;
  }
  return check.check(name, tensor, sizes.io,
                     {{"pages", args.v.shape[0]}, {"page_size", args.v.shape[1]}, heads, size});
}
Result<void> check_lse(TensorCheck& check, const DLTensor& lse, const Sizes& sizes) {
  const Extent heads{"Hq", sizes.q_heads};
  if (sizes.q_layout == Layout::packed) {
    return check.check("lse", lse, ElementType::f32, {{"total_q", sizes.total_q}, heads},
                       Inner::any_stride);
  }
  return check.check("lse", lse, ElementType::f32,
                     {{"B", sizes.sequences}, {"S_q", sizes.q_len}, heads}, Inner::any_stride);
}

Result<void> check_mask(TensorCheck& check, const AttentionPrefillArgs& args, const Sizes& sizes) {
  if (args.mask.has_value() != args.mask_offsets.has_value()) {
    return bad("'mask' and 'mask_offsets' come together");
  }
  if (!args.mask) return {};
  KILN_TRY(check.check_rank("mask", *args.mask, 1));
  KILN_TRY(
      check.check_dense("mask", *args.mask, ElementType::u8, {{"bytes", args.mask->shape[0]}}));
  return check.check_dense("mask_offsets", *args.mask_offsets, ElementType::i64,
                           {{"B", sizes.sequences}});
}

Result<void> check_optional(TensorCheck& check, const AttentionPrefillArgs& args,
                            const Sizes& sizes) {
  const Extent starts{"B+1", sizes.sequences + 1};
  const Extent sequences{"B", sizes.sequences};
  using enum ElementType;
  if (args.cu_seqlens_q) {
    KILN_TRY(check.check_dense("cu_seqlens_q", *args.cu_seqlens_q, i32, {starts}));
  }
  if (args.cu_seqlens_kv) {
    KILN_TRY(check.check_dense("cu_seqlens_kv", *args.cu_seqlens_kv, i32, {starts}));
  }
  if (args.kv_lens) KILN_TRY(check.check_dense("kv_lens", *args.kv_lens, i32, {sequences}));
  if (args.block_table) {
    KILN_TRY(check.check("block_table", *args.block_table, i32,
                         {sequences, {"pages_max", args.block_table->shape[1]}}));
  }
  if (args.sinks) KILN_TRY(check.check_dense("sinks", *args.sinks, f32, {{"Hq", sizes.q_heads}}));
  if (args.lse) KILN_TRY(check_lse(check, *args.lse, sizes));
  return check_mask(check, args, sizes);
}

Result<void> check_tensors(TensorCheck& check, const AttentionPrefillArgs& args,
                           const Sizes& sizes) {
  const Extent d_qk{"D_qk", sizes.d_qk};
  const Extent d_vo{"D_vo", sizes.d_vo};
  KILN_TRY(check_queries(check, "q", args.q, sizes, d_qk));
  KILN_TRY(check_keys(check, "k", args.k, args, sizes, d_qk));
  KILN_TRY(check_keys(check, "v", args.v, args, sizes, d_vo));
  KILN_TRY(check_optional(check, args, sizes));
  return check_queries(check, "out", args.out, sizes, d_vo);
}

Result<void> check_numbers(const AttentionPrefillArgs& args) {
  for (const auto& [name, window] :
       {std::pair{"window_left", args.window_left}, std::pair{"window_right", args.window_right}}) {
    if (window < -1) return bad(fmt::format("{} is {}; it takes -1 (all) or more", name, window));
  }
  if (!(args.softcap >= 0) || std::isinf(args.softcap)) {
    return bad(fmt::format("softcap is {}; it takes 0 (none) or more", args.softcap));
  }
  const KnownAttentionVariant* const variant = args.variant.variant;
  if (!variant || variant->definition.softmax) return {};
  if (args.lse) return bad("'lse', and a variant without softmax, which has no such sum");
  if (args.sinks) return bad("'sinks', and a variant without softmax, whose sum they would join");
  return {};
}

// The last dimensions are tokens, heads and, but for lse, elements.
AttentionPrefillParams::Heads heads_of(const DLTensor& tensor, int dims) {
  const int token = tensor.ndim - dims;
  return {address_of(tensor), token > 0 ? stride_of(tensor, 0) : 0, stride_of(tensor, token),
          stride_of(tensor, token + 1)};
}
template <class T>
T* data_of(const std::optional<DLTensor>& tensor) {
  return tensor ? static_cast<T*>(address_of(*tensor)) : nullptr;
}
int window_of(std::int64_t window) {
  if (window < 0 || window > kAttentionPrefillWindowMax) return kAttentionPrefillWindowMax;
  return static_cast<int>(window);
}
// A length that the implementations refuse stays one that they refuse.
int length_of(std::int64_t length) {
  return static_cast<int>(std::min<std::int64_t>(length, INT32_MAX));
}

AttentionPrefillParams params_of(const AttentionPrefillArgs& args, const Sizes& sizes) {
  AttentionPrefillParams params{};
  params.q = heads_of(args.q, 3);
  params.k = heads_of(args.k, 3);
  params.v = heads_of(args.v, 3);
  params.out = heads_of(args.out, 3);
  if (args.lse) params.lse = heads_of(*args.lse, 2);
  params.cu_seqlens_q = data_of<const int>(args.cu_seqlens_q);
  params.cu_seqlens_kv = data_of<const int>(args.cu_seqlens_kv);
  params.kv_lens = data_of<const int>(args.kv_lens);
  if (args.block_table) {
    params.block_table = data_of<const int>(args.block_table);
    params.block_table_stride = stride_of(*args.block_table, 0);
    params.page_size = length_of(args.v.shape[1]);
    params.pages = length_of(args.v.shape[0]);
  }
  params.sinks = data_of<const float>(args.sinks);
  if (args.mask) {
    params.mask = data_of<const unsigned char>(args.mask);
    params.mask_offsets = data_of<const long long>(args.mask_offsets);
    params.mask_bytes = args.mask->shape[0];
  }
  params.total_q = sizes.total_q;
  params.total_kv = sizes.total_kv;
  params.batch = static_cast<int>(sizes.sequences);
  params.q_len = length_of(sizes.q_len);
  params.kv_len = length_of(sizes.kv_len);
  params.window_left = window_of(args.window_left);
  params.window_right = window_of(args.window_right);
  params.scale = args.scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.d_qk)));
  params.softcap = args.softcap;
  return params;
}

// Defaults of the op where the tensors do not say otherwise.
PackedShape shape_of(const Op& op, const AttentionPrefillArgs& args, const Sizes& sizes) {
  PackedShape shape(op);
  shape.set("Hq", sizes.q_heads);
  shape.set("Hkv", sizes.kv_heads);
  shape.set("D_qk", sizes.d_qk);
  shape.set("D_vo", sizes.d_vo);
  shape.set("causal", args.causal);
  shape.set_word("io", tag_of(sizes.io));
  shape.set("paged", sizes.kv_layout == Layout::paged);
  set_variant(shape, args.variant);
  return shape;
}

}  // namespace

Result<void> attention_prefill(Runtime& runtime, const AttentionPrefillArgs& args,
                               const CallOptions& options) {
  TensorCheck check("attention_prefill");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(check, args));
  KILN_TRY(check_tensors(check, args, sizes));
  KILN_TRY(check_numbers(args));
  AttentionPrefillParams params = params_of(args, sizes);
  KILN_TRY(read_variant(check, args.variant, params.variant));
  static const Op* const op = *find_op("attention_prefill");
  return call_op(runtime, shape_of(*op, args, sizes), check.device(), &params, options);
}

}  // namespace kiln
