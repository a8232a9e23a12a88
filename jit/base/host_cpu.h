// SPDX-License-Identifier: Apache-2.0
// What this processor and its operating system can run.
#pragma once

#include <string>

#include "jit/base/result.h"

namespace kiln {

// The x86-64 name of this host: the highest ABI level, then the features beyond it that Kiln's
// kernels can use, in LLVM's spelling and alphabetical order: "x86-64-v4+avx512bf16+avx512vnni".
// Errors: unavailable on another processor or one below x86-64-v2.
Result<std::string> host_cpu_name();

}  // namespace kiln
