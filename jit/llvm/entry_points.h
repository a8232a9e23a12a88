// SPDX-License-Identifier: Apache-2.0
// From C++ name expressions ("kiln::kda_decode<128>") to the functions of a module.
#pragma once

#include <llvm/IR/Module.h>

#include <string>
#include <vector>

#include "jit/base/result.h"
#include "jit/llvm/plugin_abi.h"

namespace kiln {

// C++ text to append to a source: one global per expression, initialized with its value.
std::string entry_point_text(const KilnTextList& expressions, KilnLlvmFamily family);

// Takes those globals out of `module` again, makes the functions they point to visible and all
// else internal, and returns the functions' symbols.
// Errors: compile_failed, for an expression that names no function with a body, or, on AMDGPU, no
// kernel.
Result<std::vector<std::string>> export_entry_points(llvm::Module& module,
                                                     const KilnTextList& expressions,
                                                     KilnLlvmFamily family);

}  // namespace kiln
