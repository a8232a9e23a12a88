// SPDX-License-Identifier: Apache-2.0
#include "tools/definition/help_formatter.h"

#include "tools/page.h"

namespace kiln::cli {
namespace {

constexpr std::size_t kTextColumn = 28;

std::string row(std::string left, const std::string& text) {
  left = "  " + left;
  if (left.size() + 2 > kTextColumn) {
    left += '\n' + std::string(kTextColumn, ' ');
  } else {
    left.resize(kTextColumn, ' ');
  }
  return left + folded(text, kTextColumn) + '\n';
}

}  // namespace

HelpFormatter::HelpFormatter() {
  label("Positionals", "Arguments");
  label("SUBCOMMAND", "COMMAND");
  column_width(kTextColumn);
}

// " N in [1 - 1024]": CLI11 puts what a check accepts behind a colon.
std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0 || option->get_positional()) return {};
  std::string type = option->get_type_name();
  if (const std::size_t colon = type.find(':'); colon != std::string::npos) {
    type.erase(0, colon + 1);
  }
  return " " + type;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::string text = option->get_description();
  if (!option->get_default_str().empty()) text += " (default: " + option->get_default_str() + ")";
  return text;
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  return row(make_option_name(option, is_positional) + make_option_opts(option),
             make_option_desc(option));
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return row(command->get_name(), command->get_description());
}

std::string HelpFormatter::make_footer(const CLI::App* command) const {
  const CLI::App* top = command;
  while (top->get_parent()) top = top->get_parent();
  const std::string text = CLI::Formatter::make_footer(command);
  if (top == command) return text;
  return text + (text.empty() ? "" : "\n") + CLI::Formatter::make_footer(top);
}

}  // namespace kiln::cli
