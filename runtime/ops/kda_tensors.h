// SPDX-License-Identifier: Apache-2.0
// What calls of both KDA ops have in common: their tensors, checked, and how these become the shape
// and the parameters that kernels get.
#pragma once

#include <dlpack/dlpack.h>

#include "kiln/kda_decode.h"
#include "runtime/ops/tensor_check.h"
#include "runtime/packed_shape.h"
#include "templates/kernels/kda/params.h"

namespace kiln {

// As in KdaDecodeArgs. `cu_seqlens` null: no such argument.
struct KdaTensors {
  const DLTensor& q;
  const DLTensor& k;
  const DLTensor& v;
  const DLTensor& a;
  const DLTensor& b;
  const DLTensor& a_log;
  const DLTensor& dt_bias;
  const DLTensor& state;
  const DLTensor& slots;
  const DLTensor& out;
  const DLTensor* cu_seqlens = nullptr;

  bool varlen() const;
};

// What the shape takes from the call and not from its tensors.
struct KdaKind {
  KdaGate gate = KdaGate::softplus;
  KdaBeta beta = KdaBeta::logit;
  KdaLayout layout = KdaLayout::VK;
  bool qk_l2norm = true;
};

struct KdaSizes {
  int token_dims = 1;  // before the heads: [N] or [total]; [N, T]
  std::int64_t sequences, tokens, heads, value_heads, k, v, pool;
  std::int64_t rows;  // tokens in all where there is one dimension of them
  ElementType io, gate_io, state;
};

// Whether an optional argument is not there.
bool is_absent(const DLTensor& tensor);

// Checks all tensors of `tensors`. `tokens_max`: of a sequence, with cu_seqlens.
// Errors: invalid_argument, saying which and how.
Result<KdaSizes> check_kda(TensorCheck& check, std::string_view op, const KdaTensors& tensors,
                           const KdaKind& kind, std::int64_t tokens_max);

// The matrices of `states` [.., HV, K, V] or [.., HV, V, K] are contiguous.
// Errors: invalid_argument.
Result<void> check_kda_matrices(std::string_view op, std::string_view name, const DLTensor& states);

PackedShape kda_shape_of(const Op& op, const KdaSizes& sizes, const KdaKind& kind);

// All but scale, eps, thresholds and lower bound.
void fill_kda(const KdaTensors& tensors, const KdaSizes& sizes, KdaParams* params);
float kda_scale(std::optional<float> scale, const KdaSizes& sizes);

// A pool of states [slots, ..., HV, K, V]. Dimensions of one element have no stride.
KdaPool kda_pool_of(const DLTensor& states);
std::int64_t kda_stride(const DLTensor& tensor, int dim);

}  // namespace kiln
