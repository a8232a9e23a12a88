// SPDX-License-Identifier: Apache-2.0
// Plans as the command line names them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kiln/plan.h"

namespace kiln::cli {

// The requests of all `files` (separated by commas), each once. Errors: those of read_plan();
// invalid_argument for an empty list.
Result<std::vector<PlanRequest>> read_plans(std::string_view files);
Result<std::vector<PlanRequest>> read_plans(const std::vector<std::string>& files);

}  // namespace kiln::cli
