// SPDX-License-Identifier: Apache-2.0
// The command line as the generators see it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace kiln::cli {

struct OptionWords {
  std::vector<std::string> names;  // "-o", "--arch"
  std::string value;               // "WORD"; empty: a flag
  std::string text;
};

// The visible commands below `app`.
std::vector<const CLI::App*> commands_of(const CLI::App& app);
// The options of one command, those of the commands below it not among them.
std::vector<OptionWords> options_of(const CLI::App& command);
// "OP [PARAM...]"
std::string arguments_of(const CLI::App& command);
// Whether its first argument is an op, whether it takes the op's parameters, and --arch.
bool takes_op(const CLI::App& command);
bool takes_params(const CLI::App& command);
// Archs worth to be offered.
const std::vector<std::string>& offered_archs();

}  // namespace kiln::cli
