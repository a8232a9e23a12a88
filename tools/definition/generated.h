// SPDX-License-Identifier: Apache-2.0
// Files that are made of the definition of the command line: shell completions and the man page.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace kiln::cli {

// `app` is jitctl with all its commands, before parsing.
std::string bash_completion(const CLI::App& app);
std::string zsh_completion(const CLI::App& app);
std::string fish_completion(const CLI::App& app);
// Section 1, in roff.
std::string man_page(const CLI::App& app);

}  // namespace kiln::cli
