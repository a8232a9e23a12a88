// SPDX-License-Identifier: Apache-2.0
// Reading what compilers print.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/artifact.h"

namespace kiln {

// One error of a compiler's log: "kernels/tile.h:12: identifier "x" is undefined". Every compiler's
// form of place ("tile.h(12): error: ...", "tile.h:12:5: error: ...") comes out alike. `place` is
// empty where the compiler gives none.
struct CompilerError {
  std::string place;  // "kernels/tile.h:12", a name and line of the CompileInput
  std::string text;
  int column = 0;  // counted from 1, in bytes; 0: the compiler does not say
  friend bool operator==(const CompilerError&, const CompilerError&) = default;
};

// The errors that `log` reports, in order.
std::vector<CompilerError> errors_in(std::string_view log);

// "NVRTC 13.0 cannot compile op/impl H=8 sm_90a: kernels/tile.h:12:5: <text>; ...", the first
// errors of `log`: one line. Where the log has none, `otherwise`, or, if that is empty, the log's
// first line.
std::string failure_message(std::string_view compiler, std::string_view label, std::string_view log,
                            std::string_view otherwise);

// What ptxas -v (CUDA 11.8 to 13) says of each entry function, by its symbol.
std::map<std::string, KernelResources, std::less<>> parse_ptxas_log(std::string_view log);

}  // namespace kiln
