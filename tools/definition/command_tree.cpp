// SPDX-License-Identifier: Apache-2.0
#include "tools/definition/command_tree.h"

namespace kiln::cli {
namespace {

bool has_argument(const CLI::App& command, const std::string& name) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional() && option->get_name(true, false) == name) return true;
  }
  return false;
}

}  // namespace

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<OptionWords> options_of(const CLI::App& command) {
  std::vector<OptionWords> all;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->nonpositional() || option->get_group().empty()) continue;
    OptionWords words;
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    words.text = option->get_description();
    if (option->get_items_expected_max() > 0) words.value = "WORD";  // a flag expects none
    all.push_back(std::move(words));
  }
  return all;
}

std::string arguments_of(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    std::string name = option->get_name(true, false);
    if (option->get_expected_max() > 1) name += "...";
    if (!option->get_required()) name = "[" + name + "]";
    text += (text.empty() ? "" : " ") + name;
  }
  return text;
}

bool takes_op(const CLI::App& command) {
  return has_argument(command, "OP");
}

bool takes_params(const CLI::App& command) {
  return has_argument(command, "PARAM");
}

const std::vector<std::string>& offered_archs() {
  static const std::vector<std::string> archs = {
      "cpu",    "x86-64-v3", "x86-64-v4", "simt",   "simt:warp64", "sm_80",   "sm_86",  "sm_89",
      "sm_90a", "sm_100a",   "gfx90a",    "gfx942", "gfx950",      "gfx1100", "gfx1201"};
  return archs;
}

}  // namespace kiln::cli
