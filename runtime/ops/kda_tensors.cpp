// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/kda_tensors.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/ops/call.h"

namespace kiln {
namespace {

using enum ElementType;

Result<void> check_heads(std::string_view op, std::int64_t heads, std::int64_t value_heads) {
  if (heads > 0 && value_heads > 0 && value_heads % heads == 0) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: tensor 'q' has {} heads and tensor 'v' {}; each of one or more "
                          "query/key heads serves as many value heads",
                          op, heads, value_heads));
}

// Ranks first, since extents are read from these tensors.
Result<KdaSizes> read_sizes(const TensorCheck& check, std::string_view op,
                            const KdaTensors& tensors, std::int64_t tokens_max) {
  KdaSizes sizes{};
  sizes.token_dims = !tensors.varlen() && tensors.q.ndim == 4 ? 2 : 1;
  const int rank = sizes.token_dims + 2;
  KILN_TRY(check.check_rank("q", tensors.q, rank));
  KILN_TRY(check.check_rank("v", tensors.v, rank));
  KILN_TRY(check.check_rank("state", tensors.state, 4));
  KILN_TRY(check.check_rank("slots", tensors.slots, tensors.slots.ndim == 2 ? 2 : 1));
  sizes.rows = tensors.q.shape[0];
  sizes.sequences = tensors.varlen() ? tensors.slots.shape[0] : sizes.rows;
  sizes.tokens = tensors.varlen() ? tokens_max : sizes.token_dims == 2 ? tensors.q.shape[1] : 1;
  sizes.heads = tensors.q.shape[rank - 2];
  sizes.k = tensors.q.shape[rank - 1];
  sizes.value_heads = tensors.v.shape[rank - 2];
  sizes.v = tensors.v.shape[rank - 1];
  sizes.pool = tensors.state.shape[0];
  KILN_TRY(check_heads(op, sizes.heads, sizes.value_heads));
  KILN_TRY_ASSIGN(sizes.io, check.type_among("q", tensors.q, {bf16, f16, f32}));
  KILN_TRY_ASSIGN(sizes.gate_io, check.type_among("a", tensors.a, {bf16, f16, f32}));
  KILN_TRY_ASSIGN(sizes.state, check.type_among("state", tensors.state, {f32, bf16}));
  return sizes;
}

// The tensors that have a row for each token.
Result<void> check_rows(TensorCheck& check, const KdaTensors& tensors, const KdaSizes& sizes,
                        const KdaKind& kind) {
  const auto rows = [&](std::string_view name, const DLTensor& tensor, ElementType type,
                        auto... inner) {
    return sizes.token_dims == 2
               ? check.check(name, tensor, type,
                             {{"N", sizes.sequences}, {"T", sizes.tokens}, inner...})
               : check.check(name, tensor, type,
                             {{tensors.varlen() ? "total" : "N", sizes.rows}, inner...});
  };
  const Extent h{"H", sizes.heads};
  const Extent hv{"HV", sizes.value_heads};
  const Extent k{"K", sizes.k};
  const Extent v{"V", sizes.v};
  KILN_TRY(rows("q", tensors.q, sizes.io, h, k));
  KILN_TRY(rows("k", tensors.k, sizes.io, h, k));
  KILN_TRY(rows("v", tensors.v, sizes.io, hv, v));
  if (kind.gate == KdaGate::scalar) {
    KILN_TRY(rows("a", tensors.a, sizes.gate_io, hv));
  } else {
    KILN_TRY(rows("a", tensors.a, sizes.gate_io, hv, k));
  }
  KILN_TRY(rows("b", tensors.b, sizes.gate_io, hv));
  return rows("out", tensors.out, sizes.io, hv, v);
}

Result<void> check_weights(TensorCheck& check, const KdaTensors& tensors, const KdaSizes& sizes,
                           const KdaKind& kind) {
  const Extent hv{"HV", sizes.value_heads};
  const bool may_lack_rate = kind.gate == KdaGate::precomputed || kind.gate == KdaGate::lower_bound;
  if (!may_lack_rate || !is_absent(tensors.a_log)) {
    KILN_TRY(check.check_dense("A_log", tensors.a_log, f32, {hv}));
  }
  if (is_absent(tensors.dt_bias)) return {};
  if (kind.gate == KdaGate::scalar) return check.check_dense("dt_bias", tensors.dt_bias, f32, {hv});
  return check.check_dense("dt_bias", tensors.dt_bias, f32, {hv, {"K", sizes.k}});
}

Result<void> check_states(TensorCheck& check, std::string_view op, const KdaTensors& tensors,
                          const KdaSizes& sizes, const KdaKind& kind) {
  const bool vk = kind.layout == KdaLayout::VK;
  const Extent k{"K", sizes.k};
  const Extent v{"V", sizes.v};
  KILN_TRY(check.check("state", tensors.state, sizes.state,
                       {{"pool", sizes.pool}, {"HV", sizes.value_heads}, vk ? v : k, vk ? k : v}));
  KILN_TRY(check_kda_matrices(op, "state", tensors.state));
  const ElementType slot = holds(tensors.slots, i64) ? i64 : i32;
  const Extent n{"N", sizes.sequences};
  if (tensors.slots.ndim == 2) {
    return check.check("slots", tensors.slots, slot, {n, {"S", tensors.slots.shape[1]}});
  }
  return check.check("slots", tensors.slots, slot, {n}, Inner::any_stride);
}

// Field by field: a struct that is put together and then copied in larger pieces makes the
// processor wait for its own stores.
void set_heads(const DLTensor& tensor, const KdaTensors& tensors, const KdaSizes& sizes,
               KdaHeads* heads) {
  const std::int64_t outer = kda_stride(tensor, 0);
  const bool packed = sizes.token_dims == 1 && tensors.varlen();
  heads->data = address_of(tensor);
  heads->sequence_stride = packed ? 0 : outer;
  heads->token_stride = packed ? outer : sizes.token_dims == 2 ? kda_stride(tensor, 1) : 0;
  heads->head_stride = kda_stride(tensor, sizes.token_dims);
}

const float* weights_of(const DLTensor& tensor) {
  return is_absent(tensor) ? nullptr : static_cast<const float*>(address_of(tensor));
}

}  // namespace

bool is_absent(const DLTensor& tensor) {
  return tensor.data == nullptr && tensor.ndim == 0;
}

bool KdaTensors::varlen() const {
  return cu_seqlens && !is_absent(*cu_seqlens);
}

Result<KdaSizes> check_kda(TensorCheck& check, std::string_view op, const KdaTensors& tensors,
                           const KdaKind& kind, std::int64_t tokens_max) {
  KILN_TRY_ASSIGN(const KdaSizes& sizes, read_sizes(check, op, tensors, tokens_max));
  if (sizes.sequences > INT32_MAX) {  // before one is added to them
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: {} sequences; at most {}", op, sizes.sequences, INT32_MAX));
  }
  KILN_TRY(check_rows(check, tensors, sizes, kind));
  KILN_TRY(check_weights(check, tensors, sizes, kind));
  KILN_TRY(check_states(check, op, tensors, sizes, kind));
  if (tensors.varlen()) {
    KILN_TRY(
        check.check_dense("cu_seqlens", *tensors.cu_seqlens, i32, {{"N+1", sizes.sequences + 1}}));
  }
  return sizes;
}

Result<void> check_kda_matrices(std::string_view op, std::string_view name,
                                const DLTensor& states) {
  const int rows = states.ndim - 2;
  if (stride_of(states, rows) == states.shape[rows + 1] || states.shape[rows] <= 1) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: tensor '{}' has stride {} from row to row of a head; each head's "
                          "matrix must be contiguous ({})",
                          op, name, stride_of(states, rows), states.shape[rows + 1]));
}

// Words by their place among the choices of the shape, which is that of the enumerators.
PackedShape kda_shape_of(const Op& op, const KdaSizes& sizes, const KdaKind& kind) {
  static_assert(static_cast<int>(bf16) == 0 && static_cast<int>(f16) == 1 &&
                static_cast<int>(f32) == 2);
  PackedShape shape(op);
  shape.set("H", sizes.heads);
  shape.set("HV", sizes.value_heads);
  shape.set("K", sizes.k);
  shape.set("V", sizes.v);
  shape.set("gate", static_cast<int>(kind.gate));
  shape.set("beta", static_cast<int>(kind.beta));
  shape.set("io", static_cast<int>(sizes.io));
  shape.set("gate_io", static_cast<int>(sizes.gate_io));
  shape.set("state", sizes.state == f32 ? 0 : 1);
  shape.set("layout", static_cast<int>(kind.layout));
  shape.set("qk_l2norm", kind.qk_l2norm);
  return shape;
}

std::int64_t kda_stride(const DLTensor& tensor, int dim) {
  return tensor.shape[dim] <= 1 ? 0 : stride_of(tensor, dim);
}

KdaPool kda_pool_of(const DLTensor& states) {
  return {address_of(states), kda_stride(states, 0), kda_stride(states, states.ndim - 3),
          states.shape[0]};
}

float kda_scale(std::optional<float> scale, const KdaSizes& sizes) {
  return scale.value_or(1.0F / std::sqrt(static_cast<float>(sizes.k)));
}

void fill_kda(const KdaTensors& tensors, const KdaSizes& sizes, KdaParams* params) {
  set_heads(tensors.q, tensors, sizes, &params->q);
  set_heads(tensors.k, tensors, sizes, &params->k);
  set_heads(tensors.v, tensors, sizes, &params->v);
  set_heads(tensors.a, tensors, sizes, &params->a);
  set_heads(tensors.b, tensors, sizes, &params->b);
  set_heads(tensors.out, tensors, sizes, &params->out);
  params->a_log = weights_of(tensors.a_log);
  params->dt_bias = weights_of(tensors.dt_bias);
  params->state = kda_pool_of(tensors.state);
  params->slots = address_of(tensors.slots);
  params->slots_stride = kda_stride(tensors.slots, 0);
  params->slot_bytes = tensors.slots.dtype.bits / 8;
  params->batch = static_cast<int>(sizes.sequences);
  params->cu_seqlens =
      tensors.varlen() ? static_cast<const int*>(address_of(*tensors.cu_seqlens)) : nullptr;
  params->total = sizes.rows;
  params->tokens = sizes.tokens;
}

}  // namespace kiln
