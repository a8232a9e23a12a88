// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_prefill.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/attention_prefill/params.h"

namespace kiln {
namespace {

struct Sizes {
  std::int64_t total_q, total_kv, q_heads, kv_heads, d_qk, d_vo, sequences;
};

Result<Sizes> sizes_of(const TensorCheck& check, const AttentionPrefillArgs& args) {
  KILN_TRY(check.check_rank("q", args.q, 3));
  KILN_TRY(check.check_rank("v", args.v, 3));
  KILN_TRY(check.check_rank("cu_seqlens_q", args.cu_seqlens_q, 1));
  const Sizes sizes{args.q.shape[0],
                    args.v.shape[0],
                    args.q.shape[1],
                    args.v.shape[1],
                    args.q.shape[2],
                    args.v.shape[2],
                    args.cu_seqlens_q.shape[0] - 1};
  if (sizes.sequences < 0) {
    return fail(ErrorCode::invalid_argument,
                "attention_prefill: tensor 'cu_seqlens_q' is empty; it has one element more than "
                "there are sequences");
  }
  if (sizes.q_heads < 1 || sizes.kv_heads < 1 || sizes.q_heads % sizes.kv_heads != 0) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("attention_prefill: tensor 'q' has {} heads and tensor 'v' {}; each of "
                            "one or more key/value heads serves as many query heads",
                            sizes.q_heads, sizes.kv_heads));
  }
  return sizes;
}

Result<void> check_tensors(TensorCheck& check, const AttentionPrefillArgs& args,
                           const Sizes& sizes) {
  using enum ElementType;
  const Extent total_q{"total_q", sizes.total_q};
  const Extent total_kv{"total_kv", sizes.total_kv};
  const Extent q_heads{"Hq", sizes.q_heads};
  const Extent kv_heads{"Hkv", sizes.kv_heads};
  const Extent d_qk{"D_qk", sizes.d_qk};
  const Extent d_vo{"D_vo", sizes.d_vo};
  const Extent starts{"B+1", sizes.sequences + 1};
  KILN_TRY(check.check("q", args.q, bf16, {total_q, q_heads, d_qk}));
  KILN_TRY(check.check("k", args.k, bf16, {total_kv, kv_heads, d_qk}));
  KILN_TRY(check.check("v", args.v, bf16, {total_kv, kv_heads, d_vo}));
  KILN_TRY(check.check_dense("cu_seqlens_q", args.cu_seqlens_q, i32, {starts}));
  KILN_TRY(check.check_dense("cu_seqlens_kv", args.cu_seqlens_kv, i32, {starts}));
  KILN_TRY(check.check("out", args.out, bf16, {total_q, q_heads, d_vo}));
  if (args.lse) {
    KILN_TRY(check.check("lse", *args.lse, f32, {total_q, q_heads}, Inner::any_stride));
  }
  if (sizes.sequences > INT32_MAX) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("attention_prefill: {} sequences; at most {}", sizes.sequences, INT32_MAX));
  }
  return {};
}

AttentionPrefillParams::Heads heads_of(const DLTensor& tensor) {
  return {address_of(tensor), stride_of(tensor, 0), stride_of(tensor, 1)};
}

AttentionPrefillParams params_of(const AttentionPrefillArgs& args, const Sizes& sizes) {
  AttentionPrefillParams params{};
  params.q = heads_of(args.q);
  params.k = heads_of(args.k);
  params.v = heads_of(args.v);
  params.out = address_of(args.out);
  params.out_token_stride = stride_of(args.out, 0);
  params.out_head_stride = stride_of(args.out, 1);
  if (args.lse) {
    params.lse = static_cast<float*>(address_of(*args.lse));
    params.lse_token_stride = stride_of(*args.lse, 0);
    params.lse_head_stride = stride_of(*args.lse, 1);
  }
  params.cu_seqlens_q = static_cast<const int*>(address_of(args.cu_seqlens_q));
  params.cu_seqlens_kv = static_cast<const int*>(address_of(args.cu_seqlens_kv));
  params.total_q = sizes.total_q;
  params.total_kv = sizes.total_kv;
  params.batch = static_cast<int>(sizes.sequences);
  params.scale = args.scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.d_qk)));
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
  return shape;
}

}  // namespace

Result<void> attention_prefill(Runtime& runtime, const AttentionPrefillArgs& args,
                               const CallOptions& options) {
  TensorCheck check("attention_prefill");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(check, args));
  KILN_TRY(check_tensors(check, args, sizes));
  static const Op* const op = *find_op("attention_prefill");
  const PackedShape shape = shape_of(*op, args, sizes);
  const AttentionPrefillParams params = params_of(args, sizes);
  return call_op(runtime, shape, check.device(), &params, options);
}

}  // namespace kiln
