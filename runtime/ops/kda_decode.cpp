// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_decode.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/ops/call.h"
#include "runtime/ops/kda_tensors.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/kda_decode/params.h"

namespace kiln {
namespace {

struct Sizes {
  std::int64_t batch, heads, value_heads, k, v, pool;
};

Result<Sizes> sizes_of(const TensorCheck& check, const KdaDecodeArgs& args) {
  KILN_TRY(check.check_rank("q", args.q, 3));
  KILN_TRY(check.check_rank("v", args.v, 3));
  KILN_TRY(check.check_rank("state", args.state, 4));
  KILN_TRY(check_kda_heads("kda_decode", args.q.shape[1], args.v.shape[1]));
  return Sizes{args.q.shape[0], args.q.shape[1], args.v.shape[1],
               args.q.shape[2], args.v.shape[2], args.state.shape[0]};
}

Result<void> check_tensors(TensorCheck& check, const KdaDecodeArgs& args, const Sizes& sizes) {
  using enum ElementType;
  const Extent n{"N", sizes.batch};
  const Extent h{"H", sizes.heads};
  const Extent hv{"HV", sizes.value_heads};
  const Extent k{"K", sizes.k};
  const Extent v{"V", sizes.v};
  KILN_TRY(check.check("q", args.q, bf16, {n, h, k}));
  KILN_TRY(check.check("k", args.k, bf16, {n, h, k}));
  KILN_TRY(check.check("v", args.v, bf16, {n, hv, v}));
  KILN_TRY(check.check("a", args.a, bf16, {n, hv, k}));
  KILN_TRY(check.check("b", args.b, bf16, {n, hv}));
  KILN_TRY(check.check_dense("A_log", args.A_log, f32, {hv}));
  KILN_TRY(check.check_dense("dt_bias", args.dt_bias, f32, {hv, k}));
  KILN_TRY(check.check("state", args.state, f32, {{"pool", sizes.pool}, hv, v, k}));
  KILN_TRY(check.check_dense("slots", args.slots, holds(args.slots, i64) ? i64 : i32, {n}));
  KILN_TRY(check.check("out", args.out, bf16, {n, hv, v}));
  KILN_TRY(check_kda_state("kda_decode", args.state));
  if (sizes.batch > INT32_MAX) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("kda_decode: {} sequences; at most {}", sizes.batch, INT32_MAX));
  }
  return {};
}

KdaDecodeParams::Heads heads_of(const DLTensor& tensor) {
  return {address_of(tensor), stride_of(tensor, 0), stride_of(tensor, 1)};
}

KdaDecodeParams params_of(const KdaDecodeArgs& args, const Sizes& sizes) {
  KdaDecodeParams params{};
  params.q = heads_of(args.q);
  params.k = heads_of(args.k);
  params.v = heads_of(args.v);
  params.a = heads_of(args.a);
  params.b = address_of(args.b);
  params.b_token_stride = stride_of(args.b, 0);
  params.a_log = static_cast<const float*>(address_of(args.A_log));
  params.dt_bias = static_cast<const float*>(address_of(args.dt_bias));
  params.out = address_of(args.out);
  params.out_token_stride = stride_of(args.out, 0);
  params.out_head_stride = stride_of(args.out, 1);
  params.state = address_of(args.state);
  params.state_slot_stride = stride_of(args.state, 0);
  params.state_head_stride = stride_of(args.state, 1);
  params.pool = sizes.pool;
  params.slots = address_of(args.slots);
  params.slot_bytes = args.slots.dtype.bits / 8;
  params.batch = static_cast<int>(sizes.batch);
  params.scale = args.scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.k)));
  params.l2norm_eps = args.l2norm_eps;
  params.softplus_beta = args.softplus_beta;
  params.softplus_threshold = args.softplus_threshold;
  return params;
}

// Defaults of the op where the tensors do not say otherwise.
Shape shape_of(const Op& op, const KdaDecodeArgs& args, const Sizes& sizes) {
  Shape shape;
  for (const ParamSpec& param : op.shape_params) shape.set(param.name, param.default_value);
  shape.set("H", sizes.heads);
  shape.set("HV", sizes.value_heads);
  shape.set("K", sizes.k);
  shape.set("V", sizes.v);
  shape.set("qk_l2norm", args.qk_l2norm);
  return shape;
}

}  // namespace

Result<void> kda_decode(Runtime& runtime, const KdaDecodeArgs& args, const CallOptions& options) {
  TensorCheck check("kda_decode");
  KILN_TRY_ASSIGN(const Sizes sizes, sizes_of(check, args));
  KILN_TRY(check_tensors(check, args, sizes));
  KILN_TRY_ASSIGN(const Op* const op, find_op("kda_decode"));
  const KdaDecodeParams params = params_of(args, sizes);
  return call_op(runtime, *op, shape_of(*op, args, sizes), check.device(), &params, options);
}

}  // namespace kiln
