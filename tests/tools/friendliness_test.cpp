// SPDX-License-Identifier: Apache-2.0
// What a newcomer meets: first steps, --help, tables that fit a page, colours.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/tools/jitctl.h"
#include "tests/tools/live_process.h"

namespace kiln::test {
namespace {

constexpr std::size_t kPageColumns = 100;

const std::vector<std::string> kCommands = {
    "doctor",  "ops",   "which", "compile", "prewarm", "plan",   "run",    "ls",    "show",
    "explain", "stats", "gc",    "verify",  "audit",   "export", "import", "merge", "key"};

// Where the last word that is wider than what is left beside a label stands: a path or a key, which
// cannot be folded. All before it must be a label and no text.
constexpr std::size_t kLabelColumns = 30;

std::size_t widest_word(const std::string& line) {
  std::istringstream words(line);
  std::size_t widest = 0;
  for (std::string word; words >> word;) widest = std::max(widest, word.size());
  return widest;
}

void expect_fits_page(const std::string& text, const std::string& of) {
  EXPECT_NE(text, "") << of;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t widest = widest_word(line);
    if (widest > kPageColumns - kLabelColumns && line.size() - widest <= kLabelColumns) continue;
    EXPECT_LE(line.size(), kPageColumns) << of << ": " << line;
  }
}

TEST(FirstSteps, AreShownToWhoeverTypesNothingElse) {
  const Jitctl jitctl;
  const auto nothing = jitctl.run({});
  EXPECT_EQ(nothing.exit_code, 2);
  const auto help = jitctl.run({"--help"});
  for (const std::string& text : {nothing.err, help.out}) {
    for (const char* step :
         {"jitctl doctor ", "jitctl run kda_decode ", "jitctl prewarm --config"}) {
      EXPECT_NE(text.find(step), std::string::npos) << step << " not in " << text;
    }
  }
  EXPECT_EQ(help.out.find("generate"), std::string::npos) << "not for people";
}

TEST(FirstSteps, AreBelowTheHelpOfEachCommand) {
  const Jitctl jitctl;
  std::vector<std::vector<std::string>> commands = {
      {"plan", "show"}, {"plan", "merge"}, {"key", "new"}, {"key", "show"}, {"key", "trust"}};
  for (const std::string& command : kCommands) commands.push_back({command});
  for (std::vector<std::string> words : commands) {
    words.emplace_back("--help");
    const auto help = jitctl.run(words);
    EXPECT_EQ(help.exit_code, 0);
    for (const char* step :
         {"\n  jitctl doctor ", "\n  jitctl run kda_decode ", "\n  jitctl prewarm --config"}) {
      EXPECT_NE(help.out.find(step), std::string::npos) << words[0] << ": " << help.out;
    }
    EXPECT_EQ(help.out.find("First steps"), help.out.rfind("First steps")) << "twice";
    expect_fits_page(help.out, words[0]);
  }
}

TEST(Help, OfEachCommandFitsAPageAndHasExamples) {
  const Jitctl jitctl;
  const std::string all = jitctl.run({"--help"}).out;
  expect_fits_page(all, "jitctl");
  for (const std::string& command : kCommands) {
    EXPECT_NE(all.find("\n  " + command + " "), std::string::npos) << command;
    const auto help = jitctl.run({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_NE(help.out.find("Examples:\n"), std::string::npos) << command;
    EXPECT_NE(help.out.find("jitctl " + command), std::string::npos) << command;
    expect_fits_page(help.out, command);
  }
}

// What every command prints, with long names: the op with the most parameters, a variant, a trusted
// key, the archs with the longest names.
TEST(Tables, FitAPage) {
  Jitctl jitctl;
  jitctl.set("XDG_CONFIG_HOME", "");
  jitctl.set("KILN_SIGNING_KEY", "");
  jitctl.set("KILN_TRUSTED_KEYS", "");
  const std::string file = (jitctl.home().path() / "far.json").string();
  const std::string name = "window_of_keys_before_and_none_after";
  std::ofstream(file) << R"({"name": ")" + name + R"(", "mask": "kv_idx < kv_len"})";
  const std::string plan =
      jitctl.home()
          .write("plan", "kiln-plan 1\nattention_decode gfx942:sramecc+:xnack-\n")
          .string();
  const std::string bundle = (jitctl.home().path() / "kernels.kbundle").string();
  const std::string key(64, 'a');
  const std::vector<std::vector<std::string>> commands = {
      {"doctor"},
      {"ops"},
      {"ops", "kda_decode"},
      {"ops", "kda_prefill"},
      {"ops", "attention_decode"},
      {"ops", "attention_prefill"},
      {"ops", "router_gemm"},
      {"ops", "qk_rmsnorm"},
      {"which", "attention_decode", "--variant", file, "variant=" + name},
      {"which", "attention_prefill", "--arch", "gfx942:sramecc+:xnack-"},
      {"compile", "attention_decode", "--variant", file, "variant=" + name},
      {"prewarm", "qk_rmsnorm", "Nq=64"},
      {"prewarm", "--config", model_config(), "--arch", "cpu,sm_90a,gfx942:sramecc+:xnack-",
       "--dry-run", "--check"},
      {"prewarm", "--plan", plan, "--check"},
      {"explain", "attention_decode"},
      {"explain", "qk_rmsnorm", "Nq=64"},
      {"run", "qk_rmsnorm", "Nq=64", "M=4", "--seconds", "0.001"},
      {"ls"},
      {"ls", "--limit", "1"},
      {"stats"},
      {"gc"},
      {"verify", "--each"},
      {"audit", "--all"},
      {"plan", "show", plan},
      {"plan", "merge", plan, plan, "-o", plan},
      {"key", "new"},
      {"key", "trust", "ed25519:" + key, "the", "machine", "that", "builds", "what", "we", "ship"},
      {"key", "show"},
      {"export", bundle},
      {"import", bundle, "--allow-stranger"},
      {"merge", bundle, bundle, "-o", bundle + "2", "--allow-stranger"}};
  for (const auto& words : commands) {
    const auto result = jitctl.run(words);
    EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 3) << words[0] << result.err;
    expect_fits_page(result.out, words[0]);
  }
  nlohmann::json listed;
  jitctl.run_json({"ls", name}, &listed);
  ASSERT_FALSE(listed["kernels"].empty());
  expect_fits_page(jitctl.run({"show", listed["kernels"][0]["key"]}).out, "show");
}

TEST(Colour, OnTerminalsOnlyAndNotWhereItIsUnwanted) {
  Jitctl jitctl;
  jitctl.set("TERM", "xterm");
  jitctl.set("NO_COLOR", "");
  const std::vector<std::string> words = {KILN_JITCTL, "ls", "--limit", "0"};
  const std::string red = "\x1b[31mjitctl:";
  EXPECT_EQ(jitctl.run({"doctor"}).out.find('\x1b'), std::string::npos) << "stdout is a pipe";
  LiveProcess terminal(words, jitctl.environment(), Writes::to_terminal);
  EXPECT_EQ(terminal.finish(), 2);
  EXPECT_NE(terminal.seen().find(red), std::string::npos) << terminal.seen();
  LiveProcess pipe(words, jitctl.environment(), Writes::to_pipe);
  pipe.finish();
  EXPECT_EQ(pipe.seen().find('\x1b'), std::string::npos) << pipe.seen();
  for (const auto& [name, value] : {std::pair("NO_COLOR", "1"), std::pair("TERM", "dumb")}) {
    Jitctl plain;
    plain.set("NO_COLOR", "");
    plain.set("TERM", "xterm");
    plain.set(name, value);
    LiveProcess unwanted(words, plain.environment(), Writes::to_terminal);
    unwanted.finish();
    EXPECT_EQ(unwanted.seen().find('\x1b'), std::string::npos) << name << unwanted.seen();
  }
}

}  // namespace
}  // namespace kiln::test
