// SPDX-License-Identifier: Apache-2.0
// The arguments of one kda_prefill call, as every implementation gets them: what varies from call
// to call. Read by host and kernels alike. cu_seqlens is never null.
#pragma once

#include "kda/params.h"

namespace kiln {

struct KdaPrefillParams : KdaParams {
  // 0: a sequence goes on from the state in its slot. 1: it begins with a zero state.
  int zero_initial_state;
};

}  // namespace kiln
