// SPDX-License-Identifier: Apache-2.0
#include "kiln/router_gemm.h"

#include <fmt/format.h>

#include <string>

#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/router_gemm/params.h"
#include "templates/kernels/router_gemm/tiles.h"

namespace kiln {
namespace {

using enum ElementType;

struct Sizes {
  std::int64_t tokens, experts, hidden;
};

struct Types {
  ElementType io, out;
  std::optional<ElementType> bias, correction;
};

tl::unexpected<Error> bad(const std::string& what) {
  return fail(ErrorCode::invalid_argument, "router_gemm: " + what);
}

// The type of `tensor` if it is one of these three, else `otherwise`, which its check then names.
ElementType float_type_of(const DLTensor& tensor, ElementType otherwise) {
  for (const ElementType type : {bf16, f16, f32}) {
    if (holds(tensor, type)) return type;
  }
  return otherwise;
}

Types types_of(const RouterGemmArgs& args) {
  Types types{holds(args.a, f16) ? f16 : bf16, float_type_of(args.out, f32), {}, {}};
  if (args.bias) types.bias = float_type_of(*args.bias, f32);
  if (args.gate && args.gate->correction) {
    types.correction = float_type_of(*args.gate->correction, f32);
  }
  return types;
}

Result<void> check_size(const Op& op, const char* name, std::int64_t size) {
  for (const ParamSpec& param : op.shape_params) {
    if (param.name != name || (size >= param.min && size <= param.max)) continue;
    return bad(
        fmt::format("tensor 'w' has {}={}; {} to {} are taken", name, size, param.min, param.max));
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
    return bad(fmt::format("{} tokens; at most {}", sizes.tokens, INT32_MAX));
  }
  return sizes;
}

// topk and topk_group of a gate, whose sizes are those of its ids.
Result<void> check_choice(const RouterGate& gate, const Sizes& sizes) {
  const std::int64_t groups = gate.n_group;
  if (sizes.experts > kRouterGateExpertsMax) {
    return bad(
        fmt::format("a gate of {} experts; at most {}", sizes.experts, kRouterGateExpertsMax));
  }
  if (groups < 1 || groups > kRouterGateGroupsMax || sizes.experts % groups != 0 ||
      (groups > 1 && sizes.experts / groups < 2)) {
    return bad(
        fmt::format("n_group is {}; {} experts are to be 1 to {} equal groups of two or more",
                    groups, sizes.experts, kRouterGateGroupsMax));
  }
  if (gate.topk_group < 1 || gate.topk_group > groups) {
    return bad(fmt::format("topk_group is {} of {} groups", gate.topk_group, groups));
  }
  if (gate.shared_experts < 0) {
    return bad(fmt::format("shared_experts is {}", gate.shared_experts));
  }
  const std::int64_t topk = gate.ids.shape[1] - gate.shared_experts;
  const std::int64_t among = sizes.experts / groups * gate.topk_group;
  if (topk >= 1 && topk <= kRouterGateTopkMax && topk <= among) return {};
  return bad(
      fmt::format("tensor 'ids' has {} columns, {} of them shared experts: topk is {}; 1 to "
                  "{} are taken, of {} experts in the kept groups",
                  gate.ids.shape[1], gate.shared_experts, topk, kRouterGateTopkMax, among));
}

Result<void> check_gate(TensorCheck& check, const RouterGate& gate, const Sizes& sizes,
                        const Types& types) {
  KILN_TRY(check.check_rank("ids", gate.ids, 2));
  KILN_TRY(check_choice(gate, sizes));
  const Extent m{"M", sizes.tokens};
  const Extent columns{"topk + shared_experts", gate.ids.shape[1]};
  KILN_TRY(check.check("ids", gate.ids, i32, {m, columns}));
  KILN_TRY(check.check("weights", gate.weights, f32, {m, columns}));
  if (!gate.correction) return {};
  return check.check_dense("correction", *gate.correction, *types.correction,
                           {{"N", sizes.experts}});
}

Result<void> check_tensors(TensorCheck& check, const RouterGemmArgs& args, const Sizes& sizes,
                           const Types& types) {
  const Extent m{"M", sizes.tokens};
  const Extent n{"N", sizes.experts};
  const Extent k{"K", sizes.hidden};
  KILN_TRY(check.check("a", args.a, types.io, {m, k}));
  KILN_TRY(check.check("w", args.w, types.io, {n, k}));
  KILN_TRY(check.check("out", args.out, types.out, {m, n}));
  if (args.bias) KILN_TRY(check.check_dense("bias", *args.bias, *types.bias, {n}));
  if (args.gate) KILN_TRY(check_gate(check, *args.gate, sizes, types));
  if (!args.workspace) return {};
  KILN_TRY(check.check_rank("workspace", *args.workspace, 1));
  return check.check_dense("workspace", *args.workspace, f32,
                           {{"floats", args.workspace->shape[0]}});
}

// The stride of a single row means nothing: zero keeps its rows aligned.
std::int64_t row_stride_of(const DLTensor& tensor) {
  return tensor.shape[0] == 1 ? 0 : stride_of(tensor, 0);
}

RouterGateParams params_of(const RouterGate& gate) {
  RouterGateParams params{};
  if (gate.correction) params.correction = address_of(*gate.correction);
  params.weights = static_cast<float*>(address_of(gate.weights));
  params.weights_row_stride = stride_of(gate.weights, 0);
  params.ids = static_cast<int*>(address_of(gate.ids));
  params.ids_row_stride = stride_of(gate.ids, 0);
  params.topk = static_cast<int>(gate.ids.shape[1]) - gate.shared_experts;
  params.topk_group = gate.topk_group;
  params.shared_experts = gate.shared_experts;
  params.renormalize = gate.renormalize ? 1 : 0;
  params.scale = gate.scale;
  params.shared_weight = gate.shared_weight;
  return params;
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
  if (args.workspace) {
    params.workspace = static_cast<float*>(address_of(*args.workspace));
    params.workspace_floats = args.workspace->shape[0];
  }
  if (args.gate) params.gate = params_of(*args.gate);
  params.tokens = static_cast<int>(sizes.tokens);
  return params;
}

ShapeTag gate_tag(const RouterGemmArgs& args) {
  if (!args.gate) return "none";
  return args.gate->scores == RouterScores::softmax ? ShapeTag("softmax") : ShapeTag("sigmoid");
}

PackedShape shape_of(const Op& op, const RouterGemmArgs& args, const Sizes& sizes,
                     const Types& types) {
  PackedShape shape(op);
  shape.set("N", sizes.experts);
  shape.set("K", sizes.hidden);
  shape.set_word("io", tag_of(types.io));
  shape.set_word("out", tag_of(types.out));
  shape.set_word("bias", types.bias ? tag_of(*types.bias) : ShapeTag("none"));
  shape.set_word("gate", gate_tag(args));
  shape.set_word("correction",
                 types.correction ? ShapeTag(name_of(*types.correction)) : ShapeTag("none"));
  shape.set("n_group", args.gate ? args.gate->n_group : 1);
  return shape;
}

const Op& router_gemm_op() {
  static const Op* const op = *find_op("router_gemm");
  return *op;
}

}  // namespace

Result<std::int64_t> router_gemm_workspace_floats(const RouterGemmArgs& args) {
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(TensorCheck("router_gemm"), router_gemm_op(), args));
  return router_gemm_workspace(sizes.experts, sizes.hidden, sizes.tokens);
}

Result<void> router_gemm(Runtime& runtime, const RouterGemmArgs& args, const CallOptions& options) {
  const Op& op = router_gemm_op();
  TensorCheck check("router_gemm");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(check, op, args));
  const Types types = types_of(args);
  KILN_TRY(check_tensors(check, args, sizes, types));
  const PackedShape shape = shape_of(op, args, sizes, types);
  const RouterGemmParams params = params_of(args, sizes);
  return call_op(runtime, shape, check.device(), &params, options);
}

}  // namespace kiln
