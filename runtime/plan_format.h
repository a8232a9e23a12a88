// SPDX-License-Identifier: Apache-2.0
// The first line of a plan, for those who read and those who append.
#pragma once

#include <string_view>

#include "jit/base/result.h"

namespace kiln {

inline constexpr std::string_view kPlanMagic = "kiln-plan";

// Errors: invalid_argument, when plans of this version of Kiln do not begin with `line`.
Result<void> check_plan_header(std::string_view line);

}  // namespace kiln
