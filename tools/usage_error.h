// SPDX-License-Identifier: Apache-2.0
// What CLI11 says of words that it cannot place, as an error with the nearest word that it can.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "jit/base/result.h"

namespace kiln::cli {

// `words` are those after the program's name.
Error usage_error(const CLI::App& app, const CLI::ParseError& error,
                  const std::vector<std::string>& words);

}  // namespace kiln::cli
