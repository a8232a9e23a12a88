// SPDX-License-Identifier: Apache-2.0
// What is run on the card: every op at a real model's shapes, and the kernel that measures the
// card's matrix rate. The prewarmed cache is made from the same list.
#pragma once

#include <string>
#include <vector>

#include "kiln/runtime.h"

namespace kiln::gpu_check {

struct Case {
  const char* op;
  std::vector<NameValue> arguments;
  std::string name() const;  // "kda_decode batch=1"
};
const std::vector<Case>& cases();

struct MatrixRateParams {
  float* out;  // one float per thread
  int loops;
};
inline constexpr int kMatrixRateWarps = 8;
inline constexpr double kMatrixRateFlopsPerWarpAndLoop = 8 * 2.0 * 16 * 8 * 16;
CompileInput matrix_rate_input(const Arch& arch);

// Makes sure that all of it is in the runtime's cache for `arch`. Returns how many kernels.
Result<int> prewarm(Runtime& runtime, const Arch& arch);

}  // namespace kiln::gpu_check
