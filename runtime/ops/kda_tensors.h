// SPDX-License-Identifier: Apache-2.0
// What the tensors of both KDA ops must be beyond types and extents.
#pragma once

#include <dlpack/dlpack.h>

#include <string_view>

#include "jit/base/result.h"

namespace kiln {

// `heads` query/key heads, one or more, each serve as many of the `value_heads`.
// Errors: invalid_argument.
Result<void> check_kda_heads(std::string_view op, std::int64_t heads, std::int64_t value_heads);

// The [V, K] matrix of each head of `state` [pool, HV, V, K] is contiguous.
// Errors: invalid_argument.
Result<void> check_kda_state(std::string_view op, const DLTensor& state);

}  // namespace kiln
