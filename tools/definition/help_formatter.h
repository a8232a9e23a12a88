// SPDX-License-Identifier: Apache-2.0
// --help, folded to the width of a page.
#pragma once

#include <CLI/CLI.hpp>

namespace kiln::cli {

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  // A command's examples, and below them the first steps that jitctl itself shows.
  std::string make_footer(const CLI::App* command) const override;
};

}  // namespace kiln::cli
