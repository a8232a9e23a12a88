// SPDX-License-Identifier: Apache-2.0
#include "kiln/router_gemm.h"

#include <fmt/format.h>

#include <string>

#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/router_gemm/params.h"

namespace kiln {
namespace {

using enum ElementType;

struct Sizes {
  std::int64_t tokens, experts, hidden;
};

struct Types {
  ElementType io, out;
  std::optional<ElementType> bias;
};

// The type of `tensor` if it is one of these three, else `otherwise`, which its check then names.
ElementType float_type_of(const DLTensor& tensor, ElementType otherwise) {
  for (const ElementType type : {bf16, f16, f32}) {
    if (holds(tensor, type)) return type;
  }
  return otherwise;
}

Types types_of(const RouterGemmArgs& args) {
  Types types{holds(args.a, f16) ? f16 : bf16, float_type_of(args.out, f32), {}};
  if (args.bias) types.bias = float_type_of(*args.bias, f32);
  return types;
}

Result<void> check_size(const Op& op, const char* name, std::int64_t size) {
  for (const ParamSpec& param : op.shape_params) {
    if (param.name != name || (size >= param.min && size <= param.max)) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("router_gemm: tensor 'w' has {}={}; {} to {} are taken", name, size,
                            param.min, param.max));
  }
  return {};
}

Result<Sizes> sizes_of(const TensorCheck& check, const Op& op, const RouterGemmArgs& args) {
  KILN_TRY(check.check_rank("a", args.a, 2));
  KILN_TRY(check.check_rank("w", args.w, 2));
  const Sizes sizes{args.a.shape[0], args.w.shape[0], args.w.shape[1]};
  KILN_TRY(check_size(op, "N", sizes.experts));
  KILN_TRY(check_size(op, "K", sizes.hidden));
  if (sizes.tokens > INT32_MAX) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("router_gemm: {} tokens; at most {}", sizes.tokens, INT32_MAX));
  }
  return sizes;
}

Result<void> check_tensors(TensorCheck& check, const RouterGemmArgs& args, const Sizes& sizes,
                           const Types& types) {
  const Extent m{"M", sizes.tokens};
  const Extent n{"N", sizes.experts};
  const Extent k{"K", sizes.hidden};
  KILN_TRY(check.check("a", args.a, types.io, {m, k}));
  KILN_TRY(check.check("w", args.w, types.io, {n, k}));
  KILN_TRY(check.check("out", args.out, types.out, {m, n}));
  if (args.bias) return check.check_dense("bias", *args.bias, *types.bias, {n});
  return {};
}

// The stride of a single row means nothing: zero keeps its rows aligned.
std::int64_t row_stride_of(const DLTensor& tensor) {
  return tensor.shape[0] == 1 ? 0 : stride_of(tensor, 0);
}

RouterGemmParams params_of(const RouterGemmArgs& args, const Sizes& sizes) {
  RouterGemmParams params{};
  params.a = address_of(args.a);
  params.a_row_stride = row_stride_of(args.a);
  params.w = address_of(args.w);
  params.w_row_stride = row_stride_of(args.w);
  if (args.bias) params.bias = address_of(*args.bias);
  params.out = address_of(args.out);
  params.out_row_stride = stride_of(args.out, 0);
  params.tokens = static_cast<int>(sizes.tokens);
  return params;
}

PackedShape shape_of(const Op& op, const Sizes& sizes, const Types& types) {
  PackedShape shape(op);
  shape.set("N", sizes.experts);
  shape.set("K", sizes.hidden);
  shape.set_word("io", name_of(types.io));
  shape.set_word("out", name_of(types.out));
  shape.set_word("bias", types.bias ? ShapeTag(name_of(*types.bias)) : ShapeTag("none"));
  return shape;
}

}  // namespace

Result<void> router_gemm(Runtime& runtime, const RouterGemmArgs& args, const CallOptions& options) {
  static const Op* const op = *find_op("router_gemm");
  TensorCheck check("router_gemm");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(check, *op, args));
  const Types types = types_of(args);
  KILN_TRY(check_tensors(check, args, sizes, types));
  const PackedShape shape = shape_of(*op, sizes, types);
  const RouterGemmParams params = params_of(args, sizes);
  return call_op(runtime, shape, check.device(), &params, options);
}

}  // namespace kiln
