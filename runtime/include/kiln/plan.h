// SPDX-License-Identifier: Apache-2.0
// Plans: the requests (op, shape, arch) that runs asked for, as lines of text.
//
//   kiln-plan 1
//   # an engine's warm-up, two ranks
//   kda_decode sm_90a H=8 HV=8 K=128 V=128
//
// The first line names the format and its version. Then one request a line: op, arch, and shape
// parameters as name=value, separated by blanks; a parameter that is left out has the op's default.
// Empty lines and lines that begin with '#' are comments. A run whose Options::record_plan_file
// (KILN_RECORD_PLAN) is set appends to such a file each request that is not in it yet; several
// processes may share one file. Kernels of the caller's own templates are no ops and not recorded.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/arch.h"
#include "jit/base/export.h"
#include "jit/base/result.h"
#include "templates/registry.h"

namespace kiln {

inline constexpr int kPlanVersion = 1;

struct PlanRequest {
  const Op* op = nullptr;
  Shape shape;  // every shape parameter of the op
  Arch arch;
};

// The request as a line of a plan, without its end: every parameter, in the op's order.
KILN_API std::string plan_line(const Op& op, const Shape& shape, const Arch& arch);
// A whole plan: each request once, in alphabetical order, so that plans compare as text.
KILN_API std::string plan_text(std::span<const PlanRequest> requests);
// The requests of a plan, each once, in its order; `name` is what errors call it. Errors:
// invalid_argument, with the number of the line: no plan, a version that this Kiln does not know,
// an op, arch, parameter or value that is none.
KILN_API Result<std::vector<PlanRequest>> parse_plan(std::string_view text, std::string_view name);
// The same of a file. Errors: also invalid_argument for a file that cannot be read.
KILN_API Result<std::vector<PlanRequest>> read_plan(const std::filesystem::path& file);

}  // namespace kiln
