// SPDX-License-Identifier: Apache-2.0
#include "kiln/qk_rmsnorm.h"

#include <fmt/format.h>

#include <string>

#include "runtime/ops/call.h"
#include "runtime/ops/tensor_check.h"
#include "templates/kernels/qk_rmsnorm/gpu_groups.h"
#include "templates/kernels/qk_rmsnorm/params.h"

namespace kiln {
namespace {

using enum ElementType;

// What one side of a call is named and made of.
struct Side {
  std::string name;  // "q"
  const DLTensor& in;
  const DLTensor& weight;
  const DLTensor& out;
  float eps;
};

struct Sizes {
  std::int64_t rows, heads, elements;
};

ElementType io_type_of(const QkRmsnormArgs& args) {
  return holds(args.q, f16) ? f16 : bf16;
}

ElementType weight_type_of(const QkRmsnormArgs& args) {
  return holds(args.q_weight, f16) ? f16 : holds(args.q_weight, f32) ? f32 : bf16;
}

tl::unexpected<Error> bad(const std::string& what) {
  return fail(ErrorCode::invalid_argument, "qk_rmsnorm: " + what);
}

Result<Sizes> sizes_of(const Side& side) {
  const DLTensor& in = side.in;
  if (in.ndim != 2 && in.ndim != 3) {
    return bad(fmt::format("tensor '{}' has {} dimensions; it takes 2 (per row) or 3 (per head)",
                           side.name, in.ndim));
  }
  KILN_TRY(TensorCheck("qk_rmsnorm").check_sizes(side.name, in));
  const Sizes sizes{in.shape[0], in.ndim == 3 ? in.shape[1] : 1, in.shape[in.ndim - 1]};
  if (sizes.elements < 1 || sizes.elements > kQkRmsnormSizeMax) {
    return bad(fmt::format("tensor '{}' has vectors of {} elements; 1 to {} are taken", side.name,
                           sizes.elements, kQkRmsnormSizeMax));
  }
  if (sizes.rows > INT32_MAX || sizes.heads > INT32_MAX) {
    return bad(fmt::format("tensor '{}' has {} rows of {} heads; at most {} of either", side.name,
                           sizes.rows, sizes.heads, INT32_MAX));
  }
  return sizes;
}

Result<void> check_vectors(TensorCheck& check, const std::string& name, const DLTensor& tensor,
                           ElementType type, const DLTensor& like, const Sizes& sizes) {
  const Extent m{"M", sizes.rows};
  const Extent n{"N", sizes.elements};
  if (like.ndim == 2) return check.check(name, tensor, type, {m, n});
  return check.check(name, tensor, type, {m, {"H", sizes.heads}, n});
}

// Whether neighbours in dimension `dim` are equally far apart in both.
bool same_stride(const DLTensor& a, const DLTensor& b, int dim) {
  return a.shape[dim] <= 1 || stride_of(a, dim) == stride_of(b, dim);
}

Result<void> check_side(TensorCheck& check, const Side& side, ElementType io, ElementType weight,
                        const Sizes& sizes) {
  const std::string out_name = side.name + "_out";
  KILN_TRY(check_vectors(check, side.name, side.in, io, side.in, sizes));
  KILN_TRY(check.check_dense(side.name + "_weight", side.weight, weight, {{"N", sizes.elements}}));
  KILN_TRY(check_vectors(check, out_name, side.out, io, side.in, sizes));
  if (address_of(side.in) != address_of(side.out) || sizes.rows == 0) return {};
  for (int dim = 0; dim < side.in.ndim - 1; ++dim) {
    if (same_stride(side.in, side.out, dim)) continue;
    return bad(
        fmt::format("tensor '{}' begins where '{}' does and has stride {} in dimension {}, "
                    "not {}; in place takes the same strides",
                    out_name, side.name, stride_of(side.out, dim), dim, stride_of(side.in, dim)));
  }
  return {};
}

QkRmsnormParams::Side params_of(const Side& side, const Sizes& sizes) {
  const bool per_head = side.in.ndim == 3;
  QkRmsnormParams::Side params{};
  params.in = address_of(side.in);
  params.in_row_stride = stride_of(side.in, 0);
  params.in_head_stride = per_head ? stride_of(side.in, 1) : 0;
  params.out = address_of(side.out);
  params.out_row_stride = stride_of(side.out, 0);
  params.out_head_stride = per_head ? stride_of(side.out, 1) : 0;
  params.weight = address_of(side.weight);
  params.heads = static_cast<int>(sizes.heads);
  params.eps = side.eps;
  return params;
}

PackedShape shape_of(const Op& op, const QkRmsnormArgs& args, const Sizes& q, const Sizes& k) {
  PackedShape shape(op);
  shape.set("Nq", q.elements);
  shape.set("Nk", k.elements);
  shape.set_word("io", name_of(io_type_of(args)));
  shape.set_word("weights", name_of(weight_type_of(args)));
  shape.set("weight_bias", args.weight_bias);
  return shape;
}

}  // namespace

Result<void> qk_rmsnorm(Runtime& runtime, const QkRmsnormArgs& args, const CallOptions& options) {
  const Side q{"q", args.q, args.q_weight, args.q_out, args.q_eps};
  const Side k{"k", args.k, args.k_weight, args.k_out, args.k_eps};
  KILN_TRY_ASSIGN(const Sizes q_sizes, sizes_of(q));
  KILN_TRY_ASSIGN(Sizes k_sizes, sizes_of(k));
  k_sizes.rows = q_sizes.rows;  // so that the check of k names a number of rows that differs
  TensorCheck check("qk_rmsnorm");
  KILN_TRY(check_side(check, q, io_type_of(args), weight_type_of(args), q_sizes));
  KILN_TRY(check_side(check, k, io_type_of(args), weight_type_of(args), k_sizes));
  static const Op* const op = *find_op("qk_rmsnorm");
  const PackedShape shape = shape_of(*op, args, q_sizes, k_sizes);
  const QkRmsnormParams params{params_of(q, q_sizes), params_of(k, k_sizes),
                               static_cast<int>(q_sizes.rows)};
  return call_op(runtime, shape, check.device(), &params, options);
}

}  // namespace kiln
