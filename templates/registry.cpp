// SPDX-License-Identifier: Apache-2.0
#include "templates/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "jit/base/did_you_mean.h"
#include "templates/ops/ops.h"

namespace kiln {

std::span<const Op> ops() {
  static const std::vector<Op> all = {kda_decode_op(), attention_decode_op(),  router_gemm_op(),
                                      qk_rmsnorm_op(), attention_prefill_op(), kda_prefill_op()};
  return all;
}

Result<const Op*> find_op(std::string_view name) {
  for (const Op& op : ops()) {
    if (op.name == name) return &op;
  }
  std::vector<std::string_view> known;
  for (const Op& op : ops()) known.push_back(op.name);
  return fail(ErrorCode::invalid_argument,
              fmt::format("unknown op '{}'{}; ops: {}", name, did_you_mean(name, known),
                          fmt::join(known, ", ")));
}

namespace {

// The SIMT machine stands in for a GPU with warps of its size, so what can be built for that GPU
// is built for it as well: one rule for all implementations.
Arch built_as(const Arch& arch) {
  if (arch.family() != ArchFamily::simt) return arch;
  return *Arch::parse(arch.has_feature(":warp64") ? "gfx942" : "sm_90");
}

}  // namespace

Answer is_written_for(const Implementation& implementation, const Shape& shape, const Arch& arch) {
  const auto& families = implementation.families;
  const ArchFamily family = built_as(arch).family();
  if (std::find(families.begin(), families.end(), family) != families.end()) {
    return implementation.is_meant_for ? implementation.is_meant_for(shape) : Answer::yes();
  }
  std::vector<std::string_view> names;
  for (const ArchFamily each : families) names.push_back(name_of(each));
  return Answer::no(fmt::format("{} is of family {}, and it is written for {}", arch.name(),
                                name_of(arch.family()), fmt::join(names, " and ")));
}

Answer can_build(const Implementation& implementation, const Shape& shape, const Arch& arch) {
  if (const Answer answer = is_written_for(implementation, shape, arch); !answer) return answer;
  return implementation.can_build(shape, built_as(arch));
}

}  // namespace kiln
