// SPDX-License-Identifier: Apache-2.0
// What a newcomer meets: first steps, --help, tables that fit a page, colours.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/tools/jitctl.h"
#include "tests/tools/live_process.h"

namespace kiln::test {
namespace {

constexpr std::size_t kPageColumns = 100;

const std::vector<std::string> kCommands = {
    "doctor",  "ops",   "which", "compile", "prewarm", "plan",   "run",    "ls",    "show",
    "explain", "stats", "gc",    "verify",  "audit",   "export", "import", "merge", "key"};

void expect_fits_page(const std::string& text, const std::string& of) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // A path cannot be folded.
    if (line.find_last_of(' ') == std::string::npos || line.find('/') != std::string::npos)
      continue;
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

TEST(Tables, FitAPage) {
  const Jitctl jitctl;
  ASSERT_EQ(jitctl.run({"prewarm", "kda_decode", "H=2", "HV=2"}).exit_code, 0);
  const std::vector<std::vector<std::string>> commands = {
      {"ops"},
      {"ops", "attention_decode"},
      {"ops", "kda_prefill"},
      {"compile", "kda_decode", "H=2", "HV=2"},
      {"prewarm", "--config", model_config(), "--dry-run"},
      {"gc"},
      {"which", "kda_decode"},
      {"ls"},
      {"stats"},
      {"explain", "kda_decode"},
      {"prewarm", "kda_decode", "--check"},
      {"run", "qk_rmsnorm", "Nq=64", "--no-time"},
      {"verify", "--each"}};
  for (const auto& words : commands) expect_fits_page(jitctl.run(words).out, words[0]);
}

TEST(Colour, OnTerminalsOnlyAndNotWhereItIsUnwanted) {
  Jitctl jitctl;
  jitctl.set("TERM", "xterm");
  jitctl.set("NO_COLOR", "");
  const std::vector<std::string> words = {KILN_JITCTL, "ls", "--limit", "0"};
  const std::string red = "\x1b[31mjitctl:";
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
