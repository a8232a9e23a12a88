// SPDX-License-Identifier: Apache-2.0
// Everything of Kiln's C++ API.
#pragma once

#include "kiln/attention_decode.h"
#include "kiln/attention_prefill.h"
#include "kiln/attention_variant.h"
#include "kiln/counters.h"
#include "kiln/driver.h"
#include "kiln/event.h"
#include "kiln/kda_decode.h"
#include "kiln/kda_prefill.h"
#include "kiln/kernel.h"
#include "kiln/options.h"
#include "kiln/plan.h"
#include "kiln/qk_rmsnorm.h"
#include "kiln/router_gemm.h"
#include "kiln/runtime.h"
