// SPDX-License-Identifier: Apache-2.0
// One function per op, each in the file of its name; registry.cpp lists them.
#pragma once

#include "templates/registry.h"

namespace kiln {

Op kda_decode_op();
Op attention_decode_op();
Op router_gemm_op();
Op qk_rmsnorm_op();
Op attention_prefill_op();
Op kda_prefill_op();

}  // namespace kiln
