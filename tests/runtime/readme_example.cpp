// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "kiln/kiln.h"

int main() {
  const auto runtime = *kiln::Runtime::create(*kiln::Options::from_environment());
  const kiln::Op& op = **kiln::find_op("kda_decode");
  const std::vector<kiln::NameValue> wanted = {{"H", "8"}, {"HV", "8"}};
  const kiln::Shape shape = kiln::parse_arguments(op, wanted)->shape;
  const kiln::Arch arch = *kiln::Arch::parse("cpu");
  const kiln::Selection selection = *runtime->select(op, shape, arch);
  const auto kernel = runtime->kernel(selection, shape, arch);  // memory, disk, or compiled
  if (!kernel) return fmt::print("{}\n", kernel.error().message), 1;
  fmt::print("{}: compiled {} kernels\n", (*kernel)->label(), runtime->counters().compiles);
}
