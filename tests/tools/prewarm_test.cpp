// SPDX-License-Identifier: Apache-2.0
// How prewarm goes: its progress, Ctrl-C, a kernel that fails.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/tools/jitctl.h"
#include "tests/tools/live_process.h"

namespace kiln::test {
namespace {

using nlohmann::json;

constexpr std::size_t kKernels = 6;

// Six kernels that compile one after the other.
std::vector<std::string> six_kernels(const Jitctl& jitctl) {
  std::string plan = "kiln-plan 1\n";
  for (const char* arch : {"cpu", "x86-64-v2", "x86-64-v3"}) {
    plan += std::string("qk_rmsnorm ") + arch + " Nq=64\n";
    plan += std::string("qk_rmsnorm ") + arch + " Nq=96\n";
  }
  return {KILN_JITCTL, "prewarm", "--plan", jitctl.home().write("plan", plan).string(),
          "--jobs",    "1"};
}

std::size_t stored(const Jitctl& jitctl) {
  json listed;
  jitctl.run_json({"ls"}, &listed);
  return listed["kernels"].size();
}

TEST(Prewarm, CtrlCKeepsWhatIsDone) {
  const Jitctl jitctl;
  const auto words = six_kernels(jitctl);
  LiveProcess process(words, jitctl.environment(), Writes::to_pipe);
  ASSERT_TRUE(process.wait_for("[1/6]")) << process.seen();
  process.send(SIGINT);
  EXPECT_EQ(process.finish(), 1);
  EXPECT_NE(process.seen().find("stopping: "), std::string::npos) << process.seen();

  const std::size_t kept = stored(jitctl);
  EXPECT_GE(kept, 1U);
  EXPECT_LT(kept, kKernels);
  json rest;
  EXPECT_EQ(jitctl.run_json({words.begin() + 1, words.end()}, &rest).exit_code, 0);
  EXPECT_EQ(rest["stats"]["compiles"], kKernels - kept);
  EXPECT_EQ(rest["stats"]["rejected_entries"], 0);
}

// The key goes to every process of the terminal's foreground; compilers in processes of their own
// finish what they are at all the same, and none is taken to have crashed.
TEST(Prewarm, CtrlCOnATerminalEndsNoCompilerInAProcessOfItsOwn) {
  Jitctl jitctl;
  jitctl.set("KILN_ISOLATION", "all");
  const auto words = six_kernels(jitctl);
  LiveProcess process(words, jitctl.environment(), Writes::to_terminal);
  ASSERT_TRUE(process.wait_for("[1/6]")) << process.seen();
  process.type("\x03");
  EXPECT_EQ(process.finish(), 1);
  EXPECT_NE(process.seen().find("stopping: "), std::string::npos) << process.seen();
  EXPECT_EQ(process.seen().find("failed"), std::string::npos) << process.seen();

  const std::size_t kept = stored(jitctl);
  EXPECT_GE(kept, 1U);
  EXPECT_LT(kept, kKernels);
  const auto crashes = jitctl.cache_folder() / "crashes";
  EXPECT_TRUE(!std::filesystem::exists(crashes) || std::filesystem::is_empty(crashes));
  EXPECT_EQ(jitctl.run({words.begin() + 1, words.end()}).exit_code, 0);
  EXPECT_EQ(stored(jitctl), kKernels);
}

TEST(Prewarm, ASecondCtrlCEndsItAtOnceAndTheStoreIsWhole) {
  const Jitctl jitctl;
  // The second compile is at work for long when the signals come.
  const std::string plan = "kiln-plan 1\nqk_rmsnorm cpu Nq=64\nattention_prefill simt\n";
  LiveProcess process(
      {KILN_JITCTL, "prewarm", "--jobs", "1", "--plan", jitctl.home().write("plan", plan).string()},
      jitctl.environment(), Writes::to_pipe);
  ASSERT_TRUE(process.wait_for("[1/")) << process.seen();
  process.send(SIGTERM);
  ASSERT_TRUE(process.wait_for("stopping: ")) << process.seen();
  process.send(SIGTERM);
  EXPECT_EQ(process.finish(), 128 + SIGTERM) << process.seen();
  EXPECT_EQ(jitctl.run({"verify"}).exit_code, 0);
  EXPECT_GE(stored(jitctl), 1U);
}

TEST(Prewarm, AKernelThatFailsDoesNotStopTheOthers) {
  Jitctl jitctl;
  jitctl.set("KILN_NVRTC_LIBRARY", KILN_STUBS "/nvrtc-compiles-nothing/libnvrtc.so");
  const std::vector<std::string> words = {"prewarm", "qk_rmsnorm", "Nq=64", "--arch",
                                          "sm_80,cpu,sm_90,x86-64-v2"};
  const auto result = jitctl.run(words);
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.out.find("4 kernels: 2 compiled, 2 failed"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("error: nothing is right today"), std::string::npos) << result.out;
  EXPECT_EQ(stored(jitctl), 2U);
  json again;
  EXPECT_EQ(jitctl.run_json(words, &again).exit_code, 1);
  EXPECT_EQ(again["stats"]["compiles"], 0);
  EXPECT_EQ(again["stats"]["compile_failures"], 2);
}

TEST(Prewarm, OnATerminalOneLineUpdates) {
  Jitctl jitctl;
  jitctl.set("TERM", "xterm");
  LiveProcess process(six_kernels(jitctl), jitctl.environment(), Writes::to_terminal);
  EXPECT_EQ(process.finish(), 0) << process.seen();
  const std::string& seen = process.seen();
  EXPECT_NE(seen.find("[0/6] qk_rmsnorm/cpu"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\r\x1b[K[1/6] about "), std::string::npos) << seen;
  EXPECT_NE(seen.find(" left: qk_rmsnorm/cpu"), std::string::npos) << seen;
  // No line is left behind but the summary, and none is wider than the terminal's 80 columns.
  EXPECT_EQ(std::count(seen.begin(), seen.end(), '\n'), 1) << seen;
  for (std::size_t at = seen.find("\r\x1b[K"); at != std::string::npos;) {
    const std::size_t next = seen.find("\r\x1b[K", at + 4);
    if (next == std::string::npos) break;
    EXPECT_LT(next - at - 4, 80U) << seen.substr(at + 4, next - at - 4);
    at = next;
  }
}

TEST(Prewarm, JsonIsAloneOnATerminalToo) {
  const Jitctl jitctl;
  std::vector<std::string> words = six_kernels(jitctl);
  words.emplace_back("--json");
  LiveProcess process(words, jitctl.environment(), Writes::to_terminal);
  EXPECT_EQ(process.finish(), 0) << process.seen();
  const json object = json::parse(process.seen(), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(object.is_object()) << process.seen();
  EXPECT_EQ(object["stats"]["compiles"], kKernels);
}

TEST(Prewarm, ATerminalThatCannotMoveItsCursorGetsLines) {
  Jitctl jitctl;
  jitctl.set("TERM", "dumb");
  LiveProcess process(six_kernels(jitctl), jitctl.environment(), Writes::to_terminal);
  EXPECT_EQ(process.finish(), 0) << process.seen();
  EXPECT_EQ(process.seen().find('\x1b'), std::string::npos) << process.seen();
  EXPECT_NE(process.seen().find("[6/6] compiled in "), std::string::npos) << process.seen();
}

TEST(Prewarm, ElsewhereEachKernelIsALineAndJsonHasNone) {
  const Jitctl jitctl;
  std::vector<std::string> words = six_kernels(jitctl);
  words.erase(words.begin());
  json object;
  const auto silent = jitctl.run_json(words, &object);
  EXPECT_EQ(silent.exit_code, 0);
  EXPECT_EQ(silent.err, "");
  EXPECT_EQ(object["interrupted"], false);
  const auto told = jitctl.run(words);
  EXPECT_EQ(std::count(told.err.begin(), told.err.end(), '\n'), 6) << told.err;
  EXPECT_NE(told.err.find("[6/6] present qk_rmsnorm/cpu"), std::string::npos) << told.err;
}

}  // namespace
}  // namespace kiln::test
