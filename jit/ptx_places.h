// SPDX-License-Identifier: Apache-2.0
// Errors of ptxas, which name lines of PTX, as places in the source.
#pragma once

#include <string>
#include <string_view>

#include "jit/base/compile_input.h"

namespace kiln {

// Whether `log` has errors that name a line of PTX: wrong inline assembly, mostly.
bool names_ptx_lines(std::string_view log);

// `log` with each such line replaced by "kernels/tile.h:12: error: <what ptxas says>; PTX line 31:
// <that line>". `ptx` is what ptxas read, compiled with line information; a place whose file is
// none of `input`, or that `ptx` does not give, leaves the line as it is.
std::string place_ptx_errors(std::string_view log, std::string_view ptx, const CompileInput& input);

}  // namespace kiln
