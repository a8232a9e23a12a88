// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_prefill.h"

#include <limits>

#include "runtime/ops/call.h"
#include "runtime/ops/kda_tensors.h"
#include "templates/kernels/kda_prefill/params.h"

namespace kiln {

Result<void> kda_prefill(Runtime& runtime, const KdaPrefillArgs& args, const CallOptions& options) {
  const KdaTensors tensors{args.q,     args.k,     args.v,          args.a,
                           args.b,     args.A_log, args.dt_bias,    args.state,
                           args.slots, args.out,   &args.cu_seqlens};
  KdaKind kind;
  kind.qk_l2norm = args.qk_l2norm;
  TensorCheck check("kda_prefill");
  KILN_TRY(check.check_rank("cu_seqlens", args.cu_seqlens, 1));
  KILN_TRY(check.check_rank("slots", args.slots, 1));
  KILN_TRY_ASSIGN(const KdaSizes& sizes, check_kda(check, "kda_prefill", tensors, kind,
                                                   std::numeric_limits<std::int64_t>::max()));
  static const Op* const op = *find_op("kda_prefill");
  KdaPrefillParams params{};
  fill_kda(tensors, sizes, &params);
  params.scale = kda_scale(args.scale, sizes);
  params.l2norm_eps = args.l2norm_eps;
  params.softplus_beta = args.softplus_beta;
  params.softplus_threshold = args.softplus_threshold;
  params.zero_initial_state = args.initial_state == InitialState::zero ? 1 : 0;
  return call_op(runtime, kda_shape_of(*op, sizes, kind), check.device(), &params, options);
}

}  // namespace kiln
