// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_decode.h"

#include <fmt/format.h>

#include "runtime/ops/call.h"
#include "runtime/ops/kda_tensors.h"
#include "templates/kernels/kda_decode/params.h"

namespace kiln {
namespace {

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(ErrorCode::invalid_argument, "kda_decode: " + why);
}

// The arguments that kda_prefill does not have.
Result<void> check_verify(TensorCheck& check, const KdaDecodeArgs& args, const KdaSizes& sizes) {
  using enum ElementType;
  const Extent n{"N", sizes.sequences};
  const std::int64_t columns = args.slots.ndim == 2 ? args.slots.shape[1] : 1;
  if (columns < 1) return refuse("tensor 'slots' has no columns");
  if (!is_absent(args.accepted)) {
    KILN_TRY(check.check_dense("accepted", args.accepted, i32, {n}));
  }
  if (args.state_write == KdaStateWrite::each && columns < sizes.tokens) {
    return refuse(
        fmt::format("states of {} tokens are to be written, and tensor 'slots' has {} "
                    "column{}; KdaStateWrite::each needs one for each token",
                    sizes.tokens, columns, columns == 1 ? "" : "s"));
  }
  if (is_absent(args.intermediate)) return {};
  const bool vk = args.layout == KdaLayout::VK;
  KILN_TRY(check.check_rank("intermediate", args.intermediate, 5));
  KILN_TRY(check.check("intermediate", args.intermediate, sizes.state,
                       {{"pool'", args.intermediate.shape[0]},
                        {"T'", args.intermediate.shape[1]},
                        {"HV", sizes.value_heads},
                        vk ? Extent{"V", sizes.v} : Extent{"K", sizes.k},
                        vk ? Extent{"K", sizes.k} : Extent{"V", sizes.v}}));
  KILN_TRY(check_kda_matrices("kda_decode", "intermediate", args.intermediate));
  return check.check_dense("intermediate_slots", args.intermediate_slots,
                           holds(args.slots, i64) ? i64 : i32, {n});
}

Result<void> check_numbers(const KdaDecodeArgs& args) {
  if (args.tokens_max < 0) return refuse(fmt::format("tokens_max is {}", args.tokens_max));
  if (args.gate == KdaGate::lower_bound && !(args.lower_bound < 0)) {
    return refuse(fmt::format("lower_bound is {}; it must be below 0", args.lower_bound));
  }
  return {};
}

KdaDecodeParams params_of(const KdaDecodeArgs& args, const KdaTensors& tensors,
                          const KdaSizes& sizes) {
  KdaDecodeParams params;
  clear_params(&params);
  fill_kda(tensors, sizes, &params);
  params.scale = kda_scale(args.scale, sizes);
  params.l2norm_eps = args.l2norm_eps;
  params.softplus_beta = args.softplus_beta;
  params.softplus_threshold = args.softplus_threshold;
  params.lower_bound = args.lower_bound;
  params.slot_columns = args.slots.ndim == 2 ? static_cast<int>(args.slots.shape[1]) : 1;
  params.state_write = static_cast<KdaStateWriteCode>(args.state_write);
  if (!is_absent(args.accepted)) {
    params.accepted = static_cast<const int*>(address_of(args.accepted));
  }
  if (!is_absent(args.intermediate)) {
    params.intermediate = kda_pool_of(args.intermediate);
    params.intermediate_token_stride = kda_stride(args.intermediate, 1);
    params.intermediate_tokens = args.intermediate.shape[1];
    params.intermediate_slots = address_of(args.intermediate_slots);
  }
  return params;
}

}  // namespace

Result<void> kda_decode(Runtime& runtime, const KdaDecodeArgs& args, const CallOptions& options) {
  const KdaTensors tensors{args.q,     args.k,     args.v,          args.a,
                           args.b,     args.A_log, args.dt_bias,    args.state,
                           args.slots, args.out,   &args.cu_seqlens};
  const KdaKind kind{args.gate, args.beta, args.layout, args.qk_l2norm};
  TensorCheck check("kda_decode");
  KILN_TRY(check_numbers(args));
  KILN_TRY_ASSIGN(const KdaSizes& sizes,
                  check_kda(check, "kda_decode", tensors, kind, args.tokens_max));
  KILN_TRY(check_verify(check, args, sizes));
  static const Op* const op = *find_op("kda_decode");
  const KdaDecodeParams params = params_of(args, tensors, sizes);
  return call_op(runtime, kda_shape_of(*op, sizes, kind), check.device(), &params, options);
}

}  // namespace kiln
