// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_prefill.h"

#include <fmt/format.h>

#include <limits>

#include "runtime/ops/call.h"
#include "runtime/ops/kda_tensors.h"
#include "templates/kernels/kda_prefill/chunk.h"
#include "templates/kernels/kda_prefill/params.h"
#include "templates/kernels/varlen/tile_count.h"

namespace kiln {
namespace {

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(ErrorCode::invalid_argument, "kda_prefill: " + why);
}

Result<void> check_numbers(const KdaPrefillArgs& args) {
  if (args.gate == KdaGate::lower_bound && !(args.lower_bound < 0)) {
    return refuse(fmt::format("lower_bound is {}; it must be below 0", args.lower_bound));
  }
  if (args.initial_state == InitialState::zero && !is_absent(args.initial_slots)) {
    return refuse("tensor 'initial_slots' is given, and every state is to begin with zeros");
  }
  if (!is_absent(args.checkpoints) && args.checkpoint_every < 1) {
    return refuse(
        fmt::format("checkpoint_every is {}; it must be 1 or more", args.checkpoint_every));
  }
  return {};
}

Result<void> check_token_ranks(const TensorCheck& check, const KdaPrefillArgs& args) {
  KILN_TRY(check.check_rank("slots", args.slots, 1));
  if (is_absent(args.cu_seqlens)) return check.check_rank("q", args.q, 4);
  return check.check_rank("cu_seqlens", args.cu_seqlens, 1);
}

Result<void> check_workspace(TensorCheck& check, const KdaPrefillArgs& args) {
  if (is_absent(args.workspace)) return {};
  KILN_TRY(check.check_rank("workspace", args.workspace, 1));
  return check.check_dense("workspace", args.workspace, ElementType::f32,
                           {{"floats", args.workspace.shape[0]}});
}

// The arguments that kda_decode does not have.
Result<void> check_prefix(TensorCheck& check, const KdaPrefillArgs& args, const KdaSizes& sizes) {
  const Extent n{"N", sizes.sequences};
  const ElementType slot =
      holds(args.slots, ElementType::i64) ? ElementType::i64 : ElementType::i32;
  if (!is_absent(args.initial_slots)) {
    KILN_TRY(check.check("initial_slots", args.initial_slots, slot, {n}, Inner::any_stride));
  }
  if (is_absent(args.checkpoints)) return {};
  const bool vk = args.layout == KdaLayout::VK;
  KILN_TRY(check.check_rank("checkpoints", args.checkpoints, 4));
  KILN_TRY(check.check("checkpoints", args.checkpoints, sizes.state,
                       {{"pool'", args.checkpoints.shape[0]},
                        {"HV", sizes.value_heads},
                        vk ? Extent{"V", sizes.v} : Extent{"K", sizes.k},
                        vk ? Extent{"K", sizes.k} : Extent{"V", sizes.v}}));
  KILN_TRY(check_kda_matrices("kda_prefill", "checkpoints", args.checkpoints));
  KILN_TRY(check.check_rank("checkpoint_slots", args.checkpoint_slots, 2));
  return check.check("checkpoint_slots", args.checkpoint_slots, slot,
                     {n, {"C", args.checkpoint_slots.shape[1]}});
}

KdaPrefillParams params_of(const KdaPrefillArgs& args, const KdaTensors& tensors,
                           const KdaSizes& sizes) {
  KdaPrefillParams params;
  clear_params(&params);
  fill_kda(tensors, sizes, &params);
  params.scale = kda_scale(args.scale, sizes);
  params.l2norm_eps = args.l2norm_eps;
  params.softplus_beta = args.softplus_beta;
  params.softplus_threshold = args.softplus_threshold;
  params.lower_bound = args.lower_bound;
  params.zero_initial_state = args.initial_state == InitialState::zero ? 1 : 0;
  if (!is_absent(args.initial_slots)) {
    params.initial_slots = address_of(args.initial_slots);
    params.initial_slots_stride = kda_stride(args.initial_slots, 0);
  }
  if (!is_absent(args.checkpoints)) {
    params.checkpoints = kda_pool_of(args.checkpoints);
    params.checkpoint_slots = address_of(args.checkpoint_slots);
    params.checkpoint_slots_stride = kda_stride(args.checkpoint_slots, 0);
    params.checkpoint_columns = args.checkpoint_slots.shape[1];
    params.checkpoint_every = args.checkpoint_every;
  }
  if (!is_absent(args.workspace)) {
    params.workspace = static_cast<float*>(address_of(args.workspace));
    params.workspace_floats = args.workspace.shape[0];
  }
  return params;
}

}  // namespace

Result<std::int64_t> kda_prefill_workspace_floats(const KdaPrefillArgs& args) {
  const TensorCheck check("kda_prefill");
  KILN_TRY(check_token_ranks(check, args));
  const int rank = is_absent(args.cu_seqlens) ? 4 : 3;
  KILN_TRY(check.check_rank("q", args.q, rank));
  KILN_TRY(check.check_rank("v", args.v, rank));
  const std::int64_t k = args.q.shape[rank - 1];
  if (k != 64 && k != 128) return 0;
  for (int dim = 0; dim < rank - 1; ++dim) {
    for (const std::int64_t size : {args.q.shape[dim], args.v.shape[dim], args.slots.shape[0]}) {
      if (size > INT32_MAX) return refuse(fmt::format("a dimension of {}", size));
    }
  }
  const std::int64_t chunks =
      rank == 3 ? varlen_tile_count(args.q.shape[0], args.slots.shape[0], kKdaPrefillChunk)
                : args.q.shape[0] * ((args.q.shape[1] + kKdaPrefillChunk - 1) / kKdaPrefillChunk);
  const std::int64_t per_chunk =
      args.v.shape[rank - 2] * kda_prefill_record(static_cast<int>(k)).words;
  if (chunks > 0 && per_chunk > INT64_MAX / chunks) return refuse("its tensors are too large");
  return chunks * per_chunk;
}

Result<void> kda_prefill(Runtime& runtime, const KdaPrefillArgs& args, const CallOptions& options) {
  const KdaTensors tensors{args.q,     args.k,     args.v,          args.a,
                           args.b,     args.A_log, args.dt_bias,    args.state,
                           args.slots, args.out,   &args.cu_seqlens};
  const KdaKind kind{args.gate, args.beta, args.layout, args.qk_l2norm};
  TensorCheck check("kda_prefill");
  KILN_TRY(check_numbers(args));
  KILN_TRY(check_token_ranks(check, args));
  KILN_TRY_ASSIGN(const KdaSizes& sizes, check_kda(check, "kda_prefill", tensors, kind,
                                                   std::numeric_limits<std::int64_t>::max()));
  KILN_TRY(check_prefix(check, args, sizes));
  KILN_TRY(check_workspace(check, args));
  static const Op* const op = *find_op("kda_prefill");
  const KdaPrefillParams params = params_of(args, tensors, sizes);
  return call_op(runtime, kda_shape_of(*op, sizes, kind), check.device(), &params, options);
}

}  // namespace kiln
