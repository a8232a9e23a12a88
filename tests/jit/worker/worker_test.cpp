// SPDX-License-Identifier: Apache-2.0
// The real kiln-worker with the real compilers.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>

#include "tests/jit/gpu_sample.h"
#include "tests/jit/llvm_sample.h"
#include "tests/jit/worker/worker_case.h"

namespace kiln::test {
namespace {

using namespace std::chrono_literals;

CompileInput nvrtc_sample() {
  return {"f", "f/g", {}, arch("sm_80"), {"f.cu", "__global__ void f(int* p) { *p = 1; }"},
          {},  {"f"}, {}};
}

// What is asked of every compiler, in a worker as in this process.
class IsolatedAs : public testing::TestWithParam<const char*> {
 protected:
  IsolatedAs() : here_(settings_from_environment()), isolated_(isolated_settings(Isolation::all)) {}
  void SetUp() override {
    const auto described = here().describe();
    if (described) return;
    if (is_required(std::string(here().name()))) FAIL() << described.error().message;
    GTEST_SKIP() << described.error().message;
  }
  CompileInput input() const {
    const std::string name = GetParam();
    return name == "sm_80"    ? nvrtc_sample()
           : name == "gfx90a" ? gpu_sample("gfx90a")
                              : llvm_sample("x86-64-v2");
  }
  Compiler& here() { return *here_.chain(arch(GetParam())).front(); }
  Compiler& isolated() { return *isolated_.chain(arch(GetParam())).front(); }

  const NothingLeftBehind nothing_;
  Compilers here_;
  Compilers isolated_;
};

TEST_P(IsolatedAs, TheSameBytesAsInThisProcess) {
  const auto expected = here().compile(input());
  const auto made = isolated().compile(input());
  ASSERT_TRUE(expected && made) << words_of(expected) << words_of(made);
  EXPECT_EQ(made->encode(), expected->encode());
  EXPECT_EQ(made->compiler, expected->compiler);
  EXPECT_GT(made->compile_time_ms, 0);
  EXPECT_GT(made->memory_bytes_peak, std::uint64_t{1} << 20);
  EXPECT_EQ(expected->memory_bytes_peak, 0U);
  ASSERT_TRUE(isolated().compile(input()));
  WorkerCounts once_started;
  once_started.started = 1;
  once_started.answers = 2;
  EXPECT_EQ(isolated_.workers()->counts(), once_started);
}

TEST_P(IsolatedAs, TheSameErrorAsInThisProcess) {
  CompileInput bad = input();
  bad.source.text += "\n#error this cannot be\n";
  const auto expected = here().compile(bad);
  const auto made = isolated().compile(bad);
  ASSERT_FALSE(expected);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, expected.error().code);
  EXPECT_EQ(made.error().message, expected.error().message);
  EXPECT_EQ(made.error().log, expected.error().log);
}

TEST_P(IsolatedAs, TheSameAnswersAsInThisProcess) {
  for (const char* name : {"sm_80", "sm_1", "gfx90a", "x86-64-v2", "simt"}) {
    if (!Arch::parse(name)) continue;
    const Answer expected = here().can_compile(arch(name));
    const Answer said = isolated().can_compile(arch(name));
    EXPECT_EQ(said.reason(), expected.reason()) << name;
  }
  const auto expected = here().describe();
  const auto said = isolated().describe();
  ASSERT_TRUE(expected && said) << words_of(said);
  EXPECT_EQ(said->version, expected->version);
  EXPECT_EQ(said->libraries, expected->libraries);
  EXPECT_EQ(said->archs, expected->archs);
  EXPECT_EQ(said->limitations, expected->limitations);
  EXPECT_EQ(said->attempts.size(), expected->attempts.size());
  EXPECT_EQ(said->runs_in, "kiln-worker processes");
}

INSTANTIATE_TEST_SUITE_P(Compilers, IsolatedAs, testing::Values("sm_80", "gfx90a", "x86-64-v2"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

class IsolatedHiprtc : public Hiprtc {
 protected:
  Compiler& isolated(Compilers& compilers) { return *compilers.chain(arch("gfx90a")).front(); }
};

// Debian's hipRTC 5.2 aborts here; a newer one may compile it. Either way this process lives.
TEST_F(IsolatedHiprtc, AnArchThatItDoesNotListIsReallyAskedFor) {
  const NothingLeftBehind nothing;
  if (compiler_.can_compile(arch("gfx942"))) GTEST_SKIP() << "this hipRTC lists gfx942";
  CompilerSettings settings = isolated_settings(Isolation::hiprtc);
  const auto memory = std::make_shared<MapCrashMemory>();
  settings.crashes = memory;
  Compilers compilers(settings);
  const auto artifact = isolated(compilers).compile(gpu_sample("gfx942"));
  if (artifact) return;
  EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
  EXPECT_NE(artifact.error().message.find("hipRTC died on gfx942"), std::string::npos)
      << artifact.error().message;
  EXPECT_EQ(memory->subjects(), std::vector<std::string>{"arch gfx942"});
  const auto good = isolated(compilers).compile(gpu_sample("gfx90a"));
  EXPECT_TRUE(good) << words_of(good);

  const Answer can = isolated(compilers).can_compile(arch("gfx942"));
  EXPECT_NE(can.reason().find("hipRTC died on gfx942"), std::string::npos) << can.reason();
  Compilers next(settings);
  EXPECT_EQ(isolated(next).can_compile(arch("gfx942")).reason(), can.reason());
  EXPECT_EQ(next.workers()->counts(), WorkerCounts{});
}

// can_compile alone finds it out too, by an empty kernel.
TEST_F(IsolatedHiprtc, AnArchThatItDoesNotListIsTriedBeforeItIsPromised) {
  const NothingLeftBehind nothing;
  for (const char* name : {"gfx942", "gfx1100", "gfx9999"}) {
    Compilers compilers(isolated_settings(Isolation::hiprtc));
    const bool can = static_cast<bool>(isolated(compilers).can_compile(arch(name)));
    EXPECT_EQ(isolated(compilers).compile(gpu_sample(name)).has_value(), can) << name;
  }
}

// A number from the environment: tools/soak.sh asks for more than a test run does.
int soak_count(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::stoi(text) : otherwise;
}

TEST_F(IsolatedHiprtc, ManyCompilesFromEightThreads) {
  const NothingLeftBehind nothing;
  const int count = soak_count("KILN_SOAK_COMPILES", 16);
  const auto alone = compiler_.compile(gpu_sample("gfx90a"));
  ASSERT_TRUE(alone) << words_of(alone);
  Compilers compilers(isolated_settings(Isolation::hiprtc));
  std::atomic<int> next{0};
  std::atomic<int> same{0};
  on_threads(8, [&](int) {
    while (next++ < count) {
      const auto made = isolated(compilers).compile(gpu_sample("gfx90a"));
      ASSERT_TRUE(made) << words_of(made);
      same += made->encode() == alone->encode() ? 1 : 0;
    }
  });
  EXPECT_EQ(same, count);
  const WorkerCounts counts = compilers.workers()->counts();
  EXPECT_EQ(counts.answers, static_cast<std::uint64_t>(count));
  EXPECT_LE(counts.started, 2U);
  EXPECT_EQ(counts.failures, 0U);
}

// Somebody else's kill is no fault of the compiler's: nothing is remembered, and what could not be
// compiled says why.
TEST_F(IsolatedHiprtc, WorkersKilledAtAnyMoment) {
  const NothingLeftBehind nothing;
  const int count = soak_count("KILN_SOAK_KILLS", 6);
  const auto alone = compiler_.compile(gpu_sample("gfx90a"));
  ASSERT_TRUE(alone) << words_of(alone);
  CompilerSettings settings = isolated_settings(Isolation::hiprtc);
  const auto memory = std::make_shared<MapCrashMemory>();
  settings.crashes = memory;
  Compilers compilers(settings);
  std::atomic<int> killed{0};
  std::atomic<bool> done{false};
  std::thread killer([&] {
    for (unsigned moment = 1; !done && killed < count; moment = moment * 1103515245 + 12345) {
      std::this_thread::sleep_for(std::chrono::milliseconds(moment / 65536 % 300));
      for (const pid_t worker : workers_of_this_process()) killed += kill(worker, SIGKILL) == 0;
    }
    done = true;
  });
  while (!done) {
    const auto made = isolated(compilers).compile(gpu_sample("gfx90a"));
    if (made) {
      EXPECT_EQ(made->encode(), alone->encode());
    } else {
      EXPECT_NE(made.error().message.find("signal 9"), std::string::npos) << words_of(made);
      EXPECT_EQ(made.error().code, ErrorCode::unavailable);
    }
  }
  killer.join();
  EXPECT_TRUE(memory->subjects().empty());
  EXPECT_TRUE(isolated(compilers).compile(gpu_sample("gfx90a")));
}

// A stop while it compiles ends the compile at once; one before, too.
TEST_F(IsolatedHiprtc, WhoGivesUpGetsHisThreadBack) {
  const NothingLeftBehind nothing;
  setenv("KILN_BAD_WORKER", "hang", 1);
  CompilerSettings settings = isolated_settings(Isolation::hiprtc, 1);
  settings.worker_program = KILN_BAD_WORKER;
  Compilers compilers(settings);
  std::stop_source stop;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  std::atomic<int> cancelled{0};
  for (int i = 0; i < 3; ++i) {  // one asks, two wait for the only worker
    threads.emplace_back([&] {
      const auto made = isolated(compilers).compile_until(gpu_sample("gfx90a"), stop.get_token());
      ASSERT_FALSE(made);
      cancelled += made.error().code == ErrorCode::cancelled ? 1 : 0;
    });
  }
  while (compilers.workers()->counts().started == 0) std::this_thread::yield();
  stop.request_stop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cancelled, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
  EXPECT_EQ(isolated(compilers).compile_until(gpu_sample("gfx90a"), stop.get_token()).error().code,
            ErrorCode::cancelled);
}

}  // namespace
}  // namespace kiln::test
