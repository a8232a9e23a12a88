// SPDX-License-Identifier: Apache-2.0
#include "jit/base/launch.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace kiln {

void LaunchPlan::refuse_step() {
  fmt::print(stderr, "kiln bug: a launch plan of more than {} steps\n", kStepsMax);
  std::abort();
}

}  // namespace kiln
