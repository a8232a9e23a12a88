// SPDX-License-Identifier: Apache-2.0
// jitctl generate: shell completions and the man page, from the command line's own definition. Not
// in --help: the build calls it, and installs what it prints.
#include <fmt/format.h>

#include "tools/command.h"
#include "tools/definition/generated.h"

namespace kiln::cli {

Action add_generate(CLI::App& app, Session&) {
  auto kind = std::make_shared<std::string>();
  app.group("");
  app.add_option("KIND", *kind, "bash, zsh, fish or man")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish", "man"}));
  return [kind, &app] {
    const CLI::App& root = *app.get_parent();
    const std::string text = *kind == "bash"   ? bash_completion(root)
                             : *kind == "zsh"  ? zsh_completion(root)
                             : *kind == "fish" ? fish_completion(root)
                                               : man_page(root);
    fmt::print("{}", text);
    return ExitCode::done;
  };
}

}  // namespace kiln::cli
