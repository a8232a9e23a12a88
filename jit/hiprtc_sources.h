// SPDX-License-Identifier: Apache-2.0
// The texts of a CompileInput as hipRTC is to see them.
#pragma once

#include <vector>

#include "jit/base/compile_input.h"

namespace kiln {

// The header that hipRTC includes before every source; its text is inside hipRTC.
inline constexpr const char* kHiprtcOwnHeader = "hiprtc_runtime.h";

struct HiprtcSources {
  SourceText source;
  std::vector<SourceText> headers;
};

// Each text begins with a #line of its own name: hipRTC writes them to a folder with a random name,
// which would else stand in diagnostics and, by way of __FILE__, in the code.
//
// Errors: invalid_argument, for an #include or __has_include that names no given header (hipRTC
// would look for it in the folders of ROCm and of the machine, which the key knows nothing of) and
// for a header's name that is no plain relative path (hipRTC writes a file of that name).
Result<HiprtcSources> hiprtc_sources(const CompileInput& input);

}  // namespace kiln
