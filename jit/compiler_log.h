// SPDX-License-Identifier: Apache-2.0
// Reading what compilers print.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "jit/base/artifact.h"

namespace kiln {

// The first line of `log` that reports an error, else its first line: for one-line messages.
std::string first_error_line(std::string_view log);

// What ptxas -v (CUDA 11.8 to 13) says of each entry function, by its symbol.
std::map<std::string, KernelResources, std::less<>> parse_ptxas_log(std::string_view log);

}  // namespace kiln
