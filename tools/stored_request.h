// SPDX-License-Identifier: Apache-2.0
// From the record of a stored kernel back to what a compiler needs to make it again.
#pragma once

#include "jit/base/compile_input.h"
#include "jit/compilers.h"

namespace kiln::cli {

// The input whose request is `request`. Errors: unavailable: the template is the caller's own, so
// only its digest is known, or one of another version of Kiln; with the field that differs.
Result<CompileInput> input_of(const Record& request);

// The compiler here that has exactly this toolchain. Errors: unavailable.
Result<Compiler*> compiler_of(const Compilers& compilers, const CompileInput& input,
                              const Record& toolchain);

}  // namespace kiln::cli
