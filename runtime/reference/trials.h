// SPDX-License-Identifier: Apache-2.0
// The trials of the ops, one file each; trial.cpp has the table.
#pragma once

#include <dlpack/dlpack.h>

#include "runtime/reference/trial.h"

namespace kiln {

// Where a trial's tensors lie.
struct TrialSite {
  Driver* driver;
  DLDevice device;
};
// The first device that runs code for `arch`. Errors: unavailable, listing what is here.
Result<TrialSite> find_site(const Runtime& runtime, const Arch& arch);

struct TrialRequest {
  Runtime& runtime;
  const OpArguments& arguments;
  const Arch& arch;
  TrialSite site;
  Selection selection;
  std::uint64_t seed;
  Stream stream;
};
using MakeTrial = Result<std::unique_ptr<Trial>>(TrialRequest request);

MakeTrial make_kda_decode_trial;
MakeTrial make_attention_decode_trial;
MakeTrial make_router_gemm_trial;
MakeTrial make_qk_rmsnorm_trial;
MakeTrial make_attention_prefill_trial;
MakeTrial make_kda_prefill_trial;

}  // namespace kiln
