// SPDX-License-Identifier: Apache-2.0
// jitctl: Kiln's command line.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "tools/command.h"
#include "tools/definition/help_formatter.h"
#include "tools/usage_error.h"

namespace {

using namespace kiln::cli;

constexpr const char* kFirstSteps =
    "First steps:\n"
    "  jitctl doctor             what works on this machine, and how to get what does not\n"
    "  jitctl run kda_decode     compile an op, run it here, compare it with the fp64 reference\n"
    "  jitctl prewarm --config config.json --tp 4 --arch sm_90a\n"
    "                            a model's kernels into the cache; needs no GPU";

struct Subcommand {
  const char* name;
  const char* summary;
  const char* examples;
  Action (*add)(CLI::App&, Session&);
};
constexpr Subcommand kSubcommands[] = {
    {"doctor", "What is on this machine: compilers, drivers, cache; runs a kernel on each target",
     "  jitctl doctor\n"
     "  jitctl doctor --json | jq .healthy\n"
     "  KILN_NVRTC_LIBRARY=/opt/cuda/lib64/libnvrtc.so jitctl doctor",
     add_doctor},
    {"ops", "The ops, their parameters and implementations",
     "  jitctl ops\n"
     "  jitctl ops kda_decode\n"
     "  jitctl ops kda_decode --json",
     add_ops},
    {"which", "Which implementation and compiler would serve a request, and why not another",
     "  jitctl which kda_decode\n"
     "  jitctl which kda_decode H=8 HV=8 --arch sm_90a\n"
     "  jitctl which attention_prefill --arch gfx942",
     add_which},
    {"compile", "Compile one kernel; registers, shared memory, spills",
     "  jitctl compile kda_decode --arch sm_90a\n"
     "  jitctl compile qk_rmsnorm --emit asm -o qk_rmsnorm.s\n"
     "  jitctl compile qk_rmsnorm --emit source",
     add_compile},
    {"prewarm", "Compile what a model, a plan or an op needs into the cache",
     "  jitctl prewarm --config config.json --tp 4 --arch sm_90a,cpu\n"
     "  jitctl prewarm --config config.json --tp 4 --arch sm_90a --check\n"
     "  jitctl prewarm --plan run.plan --arch gfx942 --shard 1/4",
     add_prewarm},
    {"plan", "What runs asked for, recorded with KILN_RECORD_PLAN: show, merge",
     "  KILN_RECORD_PLAN=run.plan jitctl run kda_decode\n"
     "  jitctl plan show run.plan\n"
     "  jitctl plan merge run.plan other.plan -o all.plan",
     add_plan},
    {"run", "Run an op on random inputs: error against the fp64 reference, time, bandwidth",
     "  jitctl run kda_decode\n"
     "  jitctl run qk_rmsnorm M=64 --no-time\n"
     "  jitctl run qk_rmsnorm M=4 --arch simt --check --no-time",
     add_run},
    {"ls", "List the stored kernels",
     "  jitctl ls\n"
     "  jitctl ls kda_decode\n"
     "  jitctl ls --limit 20",
     add_ls},
    {"show", "Everything that is stored about one kernel",
     "  jitctl ls                 # for the key\n"
     "  jitctl show 0f3a         # its first digits do\n"
     "  jitctl show 0f3a --json",
     add_show},
    {"explain", "Why a request would hit or miss: the nearest entry and the fields that differ",
     "  jitctl explain kda_decode\n"
     "  jitctl explain kda_decode H=8 HV=8 --arch sm_90a\n"
     "  KILN_TOOLCHAIN=exact jitctl explain kda_decode",
     add_explain},
    {"stats", "Totals of the disk cache, over all processes",
     "  jitctl stats\n"
     "  jitctl stats --json | jq .by_op",
     add_stats},
    {"gc", "Evict down to the cap, give the space back; make a read-only layer",
     "  jitctl gc\n"
     "  jitctl gc --size 500M\n"
     "  jitctl gc --seal",
     add_gc},
    {"verify", "Check every stored kernel: checksum, record and code",
     "  jitctl verify\n"
     "  jitctl verify --each\n"
     "  jitctl verify --quarantine",
     add_verify},
    {"audit", "Compile stored kernels again and compare them byte by byte",
     "  jitctl audit --sample 5\n"
     "  jitctl audit --all",
     add_audit},
    {"export", "Write stored kernels into a signed bundle",
     "  jitctl key new            # once\n"
     "  jitctl export kernels.kbundle\n"
     "  jitctl export decode.kbundle --op kda_decode",
     add_export},
    {"import", "Take the kernels of a bundle into the cache",
     "  jitctl key trust ed25519:...   # what 'jitctl key show' says where it was signed\n"
     "  jitctl import kernels.kbundle",
     add_import},
    {"merge", "Several bundles into one",
     "  jitctl merge one.kbundle two.kbundle -o both.kbundle\n"
     "  jitctl merge one.kbundle two.kbundle -o both.kbundle --unsigned",
     add_merge},
    {"key", "Keys to sign bundles with, and keys to trust",
     "  jitctl key new\n"
     "  jitctl key show\n"
     "  jitctl key trust ed25519:... build machine",
     add_key},
    {"generate", "Shell completions and the man page", "", add_generate},
};

std::vector<std::pair<CLI::App*, Action>> add_commands(CLI::App& app, Session& session) {
  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* added = app.add_subcommand(subcommand.name, subcommand.summary);
    added->add_flag("--json", session.json, "Print one JSON object and nothing else on stdout");
    actions.emplace_back(added, subcommand.add(*added, session));
    if (*subcommand.examples) added->footer(fmt::format("Examples:\n{}", subcommand.examples));
  }
  return actions;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Kiln compiles GPU and CPU kernels at run time and caches them.", "jitctl");
  app.formatter(std::make_shared<HelpFormatter>());
  app.require_subcommand(1);
  app.set_version_flag("--version", "jitctl " KILN_VERSION);
  if (argc == 1) {
    fmt::print(stderr, "{}\n\n{}\n\n'jitctl --help' lists every command.\n", app.get_description(),
               kFirstSteps);
    return static_cast<int>(ExitCode::usage);
  }
  Session session;
  const auto actions = add_commands(app, session);
  app.footer(kFirstSteps);  // after the commands, which would inherit it
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    session.json = std::find(argv + 1, argv + argc, std::string_view("--json")) != argv + argc;
    return static_cast<int>(session.fail(usage_error(app, error, {argv + 1, argv + argc})));
  }
  for (const auto& [added, action] : actions) {
    if (added->parsed()) return static_cast<int>(action());
  }
  return static_cast<int>(ExitCode::usage);
}
