// SPDX-License-Identifier: Apache-2.0
#include "kiln/qk_rmsnorm.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/ops/call.h"
#include "runtime/ops/device_arch.h"
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
  ElementType out_type;
  float eps;
};

struct Sizes {
  std::int64_t rows, heads, elements;
};

// What follows the norm.
struct Extras {
  std::int64_t rotary = 0;
  std::int64_t q_group = 0;
  ElementType table = f32;
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
  KILN_TRY(check_vectors(check, out_name, side.out, side.out_type, side.in, sizes));
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

Result<void> check_rope(TensorCheck& check, const QkRope& rope, const Sizes& q, const Sizes& k,
                        Extras& extras) {
  KILN_TRY(check.check_rank("positions", rope.positions, 1));
  KILN_TRY_ASSIGN(const ElementType wide,
                  check.type_among("positions", rope.positions, {i32, i64}));
  KILN_TRY(check.check("positions", rope.positions, wide, {{"M", q.rows}}, Inner::any_stride));
  KILN_TRY(check.check_rank("cos", rope.cos, 2));
  KILN_TRY_ASSIGN(extras.table, check.type_among("cos", rope.cos, {f32, bf16, f16}));
  const Extent table{"P", rope.cos.shape[0]}, half{"R/2", rope.cos.shape[1]};
  KILN_TRY(check.check("cos", rope.cos, extras.table, {table, half}));
  KILN_TRY(check.check("sin", rope.sin, extras.table, {table, half}));
  extras.rotary = 2 * half.size;
  const std::int64_t most = std::min(q.elements, k.elements);
  if (half.size >= 1 && extras.rotary <= most) return {};
  return bad(fmt::format("tensor 'cos' has {} columns: it rotates {} elements; 2 to {} are there",
                         half.size, extras.rotary, most));
}

// `q_scale` has a column per group of elements, or none.
Result<void> check_scale(TensorCheck& check, const DLTensor& scale, const DLTensor& q,
                         const Sizes& sizes, Extras& extras) {
  if (scale.ndim != q.ndim && scale.ndim != q.ndim - 1) {
    return bad(fmt::format("tensor 'q_scale' has {} dimensions; with q's {} it takes {} or {}",
                           scale.ndim, q.ndim, q.ndim, q.ndim - 1));
  }
  KILN_TRY(check.check_sizes("q_scale", scale));
  const bool grouped = scale.ndim == q.ndim;
  const Extent m{"M", sizes.rows}, h{"H", sizes.heads};
  const Extent g{"G", grouped ? scale.shape[scale.ndim - 1] : 1};
  const bool per_head = q.ndim == 3;
  if (grouped) {
    KILN_TRY(per_head ? check.check("q_scale", scale, f32, {m, h, g}, Inner::any_stride)
                      : check.check("q_scale", scale, f32, {m, g}, Inner::any_stride));
  } else {
    KILN_TRY(per_head ? check.check("q_scale", scale, f32, {m, h}, Inner::any_stride)
                      : check.check("q_scale", scale, f32, {m}, Inner::any_stride));
  }
  const std::int64_t group = g.size < 1 ? 0 : sizes.elements / g.size;
  const bool power_of_two =
      group >= kQkRmsnormGroupMin && group <= kQkRmsnormGroupMax && (group & (group - 1)) == 0;
  if (g.size == 1 || (power_of_two && group * g.size == sizes.elements)) {
    extras.q_group = group;
    return {};
  }
  return bad(
      fmt::format("tensor 'q_scale' has {} columns for q's {} elements; it takes 1, or as "
                  "many as share them out in powers of two from {} to {}",
                  g.size, sizes.elements, kQkRmsnormGroupMin, kQkRmsnormGroupMax));
}

QkRmsnormParams::Rope params_of(const QkRope& rope) {
  QkRmsnormParams::Rope params{};
  params.positions = address_of(rope.positions);
  params.positions_stride = stride_of(rope.positions, 0);
  params.cos = address_of(rope.cos);
  params.sin = address_of(rope.sin);
  params.cos_row_stride = stride_of(rope.cos, 0);
  params.sin_row_stride = stride_of(rope.sin, 0);
  params.table_rows = rope.cos.shape[0];
  params.wide_positions = holds(rope.positions, i64) ? 1 : 0;
  return params;
}

QkRmsnormParams::Scales params_of(const DLTensor& scale, const DLTensor& q) {
  QkRmsnormParams::Scales params{};
  params.data = static_cast<float*>(address_of(scale));
  params.row_stride = stride_of(scale, 0);
  params.head_stride = q.ndim == 3 ? stride_of(scale, 1) : 0;
  params.group_stride = scale.ndim == q.ndim ? stride_of(scale, scale.ndim - 1) : 0;
  return params;
}

PackedShape shape_of(const Op& op, const QkRmsnormArgs& args, const Sizes& q, const Sizes& k,
                     const Extras& extras) {
  PackedShape shape(op);
  shape.set("Nq", q.elements);
  shape.set("Nk", k.elements);
  shape.set_word("io", tag_of(io_type_of(args)));
  shape.set_word("weights", tag_of(weight_type_of(args)));
  shape.set("weight_bias", args.weight_bias);
  shape.set_word("rope", !args.rope               ? ShapeTag("none")
                         : args.rope->interleaved ? ShapeTag("interleaved")
                                                  : ShapeTag("neox"));
  shape.set_word("rope_table", tag_of(extras.table));
  shape.set("rotary", extras.rotary);
  shape.set("q_group", extras.q_group);
  return shape;
}

// The bits of an e4m3 may come as plain bytes: not every library has a name for its type.
DLTensor quantised_out(DLTensor out) {
  if (out.dtype.code == kDLUInt && out.dtype.bits == 8) out.dtype = dl_type_of(e4m3);
  return out;
}

const Op& qk_rmsnorm_op() {
  static const Op* const op = *find_op("qk_rmsnorm");
  return *op;
}

// A dense tensor like `like`, in memory of the driver's.
struct AllocatedTensor {
  DLManagedTensor managed{};
  std::vector<std::int64_t> shape, strides;
  std::unique_ptr<DeviceMemory> memory;
};

Result<ManagedTensor> allocate_like(Driver& driver, const DLTensor& like) {
  auto tensor = std::make_unique<AllocatedTensor>();
  tensor->shape.assign(like.shape, like.shape + like.ndim);
  std::int64_t count = 1;
  for (std::size_t i = tensor->shape.size(); i-- > 0;) {
    tensor->strides.insert(tensor->strides.begin(), count);
    count *= tensor->shape[i];
  }
  const std::size_t bytes = static_cast<std::size_t>(count) * (like.dtype.bits / 8U);
  KILN_TRY_ASSIGN(tensor->memory, driver.allocate(like.device.device_id, bytes));
  DLTensor& dl = tensor->managed.dl_tensor;
  dl = {tensor->memory->data(),
        like.device,
        like.ndim,
        like.dtype,
        tensor->shape.data(),
        tensor->strides.data(),
        0};
  tensor->managed.manager_ctx = tensor.get();
  tensor->managed.deleter = [](DLManagedTensor* self) {
    delete static_cast<AllocatedTensor*>(self->manager_ctx);
  };
  return ManagedTensor(&tensor.release()->managed);
}

}  // namespace

Result<void> qk_rmsnorm(Runtime& runtime, const QkRmsnormArgs& args, const CallOptions& options) {
  const ElementType io = io_type_of(args), weights = weight_type_of(args);
  const DLTensor q_out = args.q_scale ? quantised_out(args.q_out) : args.q_out;
  const Side q{"q", args.q, args.q_weight, q_out, args.q_scale ? e4m3 : io, args.q_eps};
  const Side k{"k", args.k, args.k_weight, args.k_out, io, args.k_eps};
  KILN_TRY_ASSIGN(const Sizes q_sizes, sizes_of(q));
  KILN_TRY_ASSIGN(Sizes k_sizes, sizes_of(k));
  k_sizes.rows = q_sizes.rows;  // so that the check of k names a number of rows that differs
  TensorCheck check("qk_rmsnorm");
  KILN_TRY(check_side(check, q, io, weights, q_sizes));
  KILN_TRY(check_side(check, k, io, weights, k_sizes));
  Extras extras;
  if (args.rope) KILN_TRY(check_rope(check, *args.rope, q_sizes, k_sizes, extras));
  if (args.q_scale) KILN_TRY(check_scale(check, *args.q_scale, args.q, q_sizes, extras));
  const PackedShape shape = shape_of(qk_rmsnorm_op(), args, q_sizes, k_sizes, extras);
  QkRmsnormParams params{};
  params.q = params_of(q, q_sizes);
  params.k = params_of(k, k_sizes);
  if (args.rope) params.rope = params_of(*args.rope);
  if (args.q_scale) params.scales = params_of(*args.q_scale, args.q);
  params.rows = static_cast<int>(q_sizes.rows);
  return call_op(runtime, shape, check.device(), &params, options);
}

Result<QkRmsnormOutputs> fused_qk_rmsnorm(Runtime& runtime, const DLTensor& q,
                                          const DLTensor& q_weight, float q_eps, const DLTensor& k,
                                          const DLTensor& k_weight, float k_eps,
                                          const CallOptions& options) {
  TensorCheck check("qk_rmsnorm");
  KILN_TRY(check.check_sizes("q", q));
  KILN_TRY(check.check_sizes("k", k));
  KILN_TRY_ASSIGN(const Arch arch, device_arch(runtime, q.device, options));
  KILN_TRY_ASSIGN(Driver* const driver, runtime.driver(arch));
  KILN_TRY_ASSIGN(const bool capturing, driver->is_capturing(q.device.device_id, options.stream));
  if (capturing) {
    return bad(
        "its outputs would be allocated, and the stream is being captured into a graph; "
        "there, name them in QkRmsnormArgs");
  }
  QkRmsnormOutputs outputs;
  KILN_TRY_ASSIGN(outputs.q, allocate_like(*driver, q));
  KILN_TRY_ASSIGN(outputs.k, allocate_like(*driver, k));
  QkRmsnormArgs args{};
  args.q = q;
  args.k = k;
  args.q_weight = q_weight;
  args.k_weight = k_weight;
  args.q_out = outputs.q->dl_tensor;
  args.k_out = outputs.k->dl_tensor;
  args.q_eps = q_eps;
  args.k_eps = k_eps;
  KILN_TRY(qk_rmsnorm(runtime, args, options));
  return outputs;
}

}  // namespace kiln
