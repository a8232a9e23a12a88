// SPDX-License-Identifier: Apache-2.0
// jitctl: Kiln's command line.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "jit/base/did_you_mean.h"
#include "tools/command.h"

namespace {

using namespace kiln::cli;

struct Subcommand {
  const char* name;
  const char* summary;
  Action (*add)(CLI::App&, Session&);
};
constexpr Subcommand kSubcommands[] = {
    {"doctor", "What is on this machine: compilers, drivers, cache; runs a kernel on each target",
     add_doctor},
    {"ops", "The ops, their parameters and implementations", add_ops},
    {"which", "Which implementation and compiler would serve a request, and why not another",
     add_which},
    {"compile", "Compile one kernel; registers, shared memory, spills", add_compile},
    {"prewarm", "Compile what a model or an op needs into the cache", add_prewarm},
    {"plan", "What runs asked for, recorded with KILN_RECORD_PLAN: show, merge", add_plan},
    {"run", "Run an op on random inputs: error against the fp64 reference, time, bandwidth",
     add_run},
    {"ls", "List the stored kernels", add_ls},
    {"show", "Everything that is stored about one kernel", add_show},
    {"explain", "Why a request would hit or miss: the nearest entry and the fields that differ",
     add_explain},
    {"stats", "Totals of the disk cache, over all processes", add_stats},
    {"gc", "Evict down to the cap, give the space back; make a read-only layer", add_gc},
    {"verify", "Check every stored kernel: checksum, record and code", add_verify},
    {"audit", "Compile stored kernels again and compare them byte by byte", add_audit},
    {"export", "Write stored kernels into a signed bundle", add_export},
    {"import", "Take the kernels of a bundle into the cache", add_import},
    {"merge", "Several bundles into one", add_merge},
    {"key", "Keys to sign bundles with, and keys to trust", add_key},
};

// CLI11 reports an unknown subcommand as a stray argument; name the nearest one instead.
int explain_usage(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (argc > 1 && argv[1][0] != '-') {
    std::vector<std::string_view> names;
    for (const Subcommand& subcommand : kSubcommands) names.emplace_back(subcommand.name);
    if (std::find(names.begin(), names.end(), argv[1]) == names.end()) {
      fmt::print(stderr, "jitctl: unknown command '{}'{}; known: {}\n", argv[1],
                 kiln::did_you_mean(argv[1], names), fmt::join(names, ", "));
      return static_cast<int>(ExitCode::usage);
    }
  }
  std::string of;
  for (const CLI::App* chosen : app.get_subcommands()) of = " " + chosen->get_name();
  fmt::print(stderr, "jitctl: {}; see 'jitctl{} --help'\n", error.what(), of);
  return static_cast<int>(ExitCode::usage);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Kiln compiles GPU and CPU kernels at run time and caches them.", "jitctl");
  app.require_subcommand(1);
  app.set_version_flag("--version", "jitctl " KILN_VERSION);
  Session session;
  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* added = app.add_subcommand(subcommand.name, subcommand.summary);
    added->add_flag("--json", session.json, "Print one JSON object and nothing else on stdout");
    actions.emplace_back(added, subcommand.add(*added, session));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return explain_usage(app, error, argc, argv);
  }
  for (const auto& [added, action] : actions) {
    if (added->parsed()) return static_cast<int>(action());
  }
  return static_cast<int>(ExitCode::usage);
}
