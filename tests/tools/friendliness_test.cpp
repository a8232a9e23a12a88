// SPDX-License-Identifier: Apache-2.0
// What a newcomer meets: first steps, --help, tables that fit a page, colours, completion.
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

// What bash offers for a line that ends at the cursor.
std::string completed(const std::string& script, const std::string& line) {
  const std::string program =
      "source \"$0\"; COMP_LINE=\"$1\"; COMP_POINT=${#1}; "
      "read -ra COMP_WORDS <<<\"$1\"; "
      "[[ $1 == *' ' ]] && COMP_WORDS+=(''); "
      "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; "
      "_jitctl; echo \"${COMPREPLY[*]}\"";
  return run_process({"/bin/bash", "-c", program, script, line}).out;
}

TEST(Completion, BashOffersWhatTheDefinitionHas) {
  const Jitctl jitctl;
  const auto generated = jitctl.run({"generate", "bash"});
  ASSERT_EQ(generated.exit_code, 0);
  const std::string script = jitctl.home().write("jitctl.bash", generated.out).string();
  EXPECT_EQ(completed(script, "jitctl prew"), "prewarm\n");
  EXPECT_EQ(completed(script, "jitctl prewarm --sh"), "--shard\n");
  EXPECT_EQ(completed(script, "jitctl run kda_d"), "kda_decode\n");
  EXPECT_EQ(completed(script, "jitctl run kda_decode gate=soft"), "softplus\n");
  EXPECT_EQ(completed(script, "jitctl which kda_decode --arch sm_9"), "sm_90a\n");
  EXPECT_EQ(completed(script, "jitctl plan mer"), "merge\n");
}

TEST(Completion, OtherShellsAndManPageAreWellFormed) {
  const Jitctl jitctl;
  const std::vector<std::pair<const char*, std::vector<std::string>>> checks = {
      {"zsh", {"/usr/bin/zsh", "-n"}},
      {"fish", {"/usr/bin/fish", "--no-execute"}},
      {"man", {"/usr/bin/man", "--warnings", "-l", "-P", "cat"}}};
  for (const auto& [kind, program] : checks) {
    const auto generated = jitctl.run({"generate", kind});
    ASSERT_EQ(generated.exit_code, 0) << kind;
    for (const std::string& command : kCommands) {
      EXPECT_NE(generated.out.find(command), std::string::npos) << kind << " lacks " << command;
    }
    if (!std::filesystem::exists(program[0]))
      continue;  // the shell's own opinion, where it is here
    std::vector<std::string> words = program;
    words.push_back(jitctl.home().write(kind, generated.out).string());
    const auto checked = run_process(words);
    EXPECT_EQ(checked.exit_code, 0) << kind << checked.err;
    EXPECT_EQ(checked.err, "") << kind;
  }
}

}  // namespace
}  // namespace kiln::test
