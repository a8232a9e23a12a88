// SPDX-License-Identifier: Apache-2.0
#include "tools/usage_error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "jit/base/did_you_mean.h"
#include "tools/definition/command_tree.h"

namespace kiln::cli {
namespace {

Error bad(std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), {}};
}

std::vector<std::string_view> names_of(const std::vector<const CLI::App*>& commands) {
  std::vector<std::string_view> names;
  for (const CLI::App* command : commands) names.emplace_back(command->get_name());
  return names;
}

// The command that `words` name, as deep as they name one; the words that did are dropped.
const CLI::App& named_command(const CLI::App& app, std::vector<std::string>& words,
                              std::string& path) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with("-")) continue;
    const auto below = app.get_subcommands([&](const CLI::App* one) {  // exactly this one
      return one->get_name() == words[i];
    });
    if (below.empty()) break;
    path += " " + words[i];
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    return named_command(*below.front(), words, path);
  }
  return app;
}

// Options of the command that no option begins like; values may look like anything.
std::string option_hint(const CLI::App& command, const std::string& stray) {
  if (!stray.starts_with("--")) return {};
  std::vector<OptionWords> options = options_of(command);
  if (command.get_parent() && command.get_parent()->get_parent()) {
    for (OptionWords& one : options_of(*command.get_parent())) options.push_back(std::move(one));
  }
  std::vector<std::string_view> names;
  for (const OptionWords& option : options) {
    for (const std::string& name : option.names) names.emplace_back(name);
  }
  return did_you_mean(stray.substr(0, stray.find('=')), names);
}

}  // namespace

Error usage_error(const CLI::App& app, const CLI::ParseError& error,
                  const std::vector<std::string>& words) {
  std::vector<std::string> rest = words;
  std::string path;
  const CLI::App& command = named_command(app, rest, path);
  const auto below = commands_of(command);
  if (!below.empty() && !rest.empty() && !rest[0].starts_with("-")) {
    const auto names = names_of(below);
    return bad(fmt::format("unknown command '{}'{}; known: {}", fmt::join(words, " "),
                           did_you_mean(rest[0], names), fmt::join(names, ", ")));
  }
  std::string text = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error)) {
    const auto strays = app.remaining(/*recurse=*/true);
    if (!strays.empty()) {
      text = fmt::format("'{}' is not known here{}", strays[0], option_hint(command, strays[0]));
    }
  }
  return bad(fmt::format("{}; see 'jitctl{} --help'", text, path));
}

}  // namespace kiln::cli
