// SPDX-License-Identifier: Apache-2.0
// Two compiles of one request, compared: where compilers stamp their output, section by section.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jit/base/artifact.h"

namespace kiln::cli {

struct ArtifactComparison {
  enum class Verdict {
    identical,  // every byte
    stamped,    // only sections differ in which tools write about themselves
    different,
  };
  Verdict verdict = Verdict::identical;
  std::vector<std::string> parts;  // what differs: "entry points", "section .text.kernel"
};

std::string_view name_of(ArtifactComparison::Verdict verdict);

ArtifactComparison compare_artifacts(const Artifact& before, const Artifact& after);

}  // namespace kiln::cli
