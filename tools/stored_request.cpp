// SPDX-License-Identifier: Apache-2.0
#include "tools/stored_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "templates/registry.h"

namespace kiln::cli {
namespace {

tl::unexpected<Error> cannot(std::string why) {
  return fail(ErrorCode::unavailable, std::move(why));
}

// "shape.H" of "int 8" as a person would write it: H=8.
std::vector<NameValue> shape_of(const Record& request) {
  constexpr std::string_view kPrefix = "shape.";
  std::vector<NameValue> shape;
  for (const Record::Field& field : request.fields()) {
    if (!field.name.starts_with(kPrefix)) continue;
    const std::size_t space = field.value.find(' ');
    if (space == std::string::npos) continue;
    shape.emplace_back(field.name.substr(kPrefix.size()), field.value.substr(space + 1));
  }
  return shape;
}

}  // namespace

Result<CompileInput> input_of(const Record& request) {
  const auto op = find_op(request.find("op").value_or(""));
  const std::string_view name = request.find("implementation").value_or("");
  if (!op) return cannot("its template is not one of Kiln's, so its source is not known here");
  const auto& known = (*op)->implementations;
  const auto implementation = std::find_if(
      known.begin(), known.end(), [&](const Implementation& one) { return one.name == name; });
  if (implementation == known.end()) {
    return cannot(fmt::format("this Kiln has no implementation '{}'", name));
  }
  KILN_TRY_ASSIGN(const Arch arch, Arch::parse(request.find("arch").value_or("")));
  const auto arguments = parse_arguments(**op, shape_of(request));
  if (!arguments) return cannot(arguments.error().message);
  KILN_TRY_ASSIGN(CompileInput input, make_input(**op, *implementation, arguments->shape, arch));
  const auto differing = differences(request, input.request());
  if (differing.empty()) return input;
  return cannot(fmt::format("it was made from another version of its template: '{}' differs",
                            differing.front().name));
}

Result<Compiler*> compiler_of(const Compilers& compilers, const CompileInput& input,
                              const Record& toolchain) {
  std::string reasons;
  for (Compiler* compiler : compilers.chain(input.arch)) {
    const auto here = compiler->toolchain();
    if (here && *here == toolchain) return compiler;
    reasons += fmt::format("; {}: {}", compiler->name(),
                           here ? "it has another build" : here.error().message);
  }
  return cannot("the compiler that made it is not here" + reasons);
}

}  // namespace kiln::cli
