// SPDX-License-Identifier: Apache-2.0
// Whatever a worker does: an artifact or one clear error, in bounded time, and nothing left behind.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/jit/worker/worker_case.h"

namespace kiln::test {
namespace {

enum class Then { compiled_here, failed };

struct Misdeed {
  const char* how;
  Then then;
  const char* says;       // of the error
  const char* remembers;  // the beginning of the subject; empty: nothing
};

void PrintTo(const Misdeed& misdeed, std::ostream* out) {
  *out << misdeed.how;
}

// A worker that lies, or is none, says nothing about the compiler; one that died does.
constexpr Misdeed kMisdeeds[] = {
    {"at_start", Then::compiled_here, "", ""},
    {"abort", Then::failed, "signal 6", "arch "},
    {"segfault", Then::failed, "died on", "arch "},
    {"exit", Then::failed, "exit status 3", "arch "},
    {"killed", Then::failed, "signal 9", ""},
    {"terminated", Then::failed, "signal 15", ""},
    {"hang", Then::failed, "within 1000 ms", ""},
    {"spin", Then::failed, "within 1000 ms", ""},
    {"memory", Then::failed, "MiB of memory", ""},
    {"garbage", Then::compiled_here, "", ""},
    {"cut_short", Then::compiled_here, "", ""},
    {"half_then_hang", Then::failed, "within 1000 ms", ""},
    {"flipped", Then::compiled_here, "", ""},
    {"too_long", Then::compiled_here, "", ""},
    {"longer", Then::failed, "within 1000 ms", ""},
    {"shorter", Then::compiled_here, "", ""},
    {"other_question", Then::compiled_here, "", ""},
    {"twice", Then::compiled_here, "", ""},
    {"a_question", Then::compiled_here, "", ""},
    {"no_record", Then::compiled_here, "", ""},
    {"no_artifact", Then::compiled_here, "", ""},
    {"closes", Then::compiled_here, "", ""},
};

// Only those that would take for ever get a short time: the others must not be cut off by it on a
// busy machine.
CompilerSettings bad_worker_settings(const std::string& how) {
  const bool endless = how.ends_with("hang") || how.ends_with("spin") || how.ends_with("longer");
  setenv("KILN_BAD_WORKER", how.c_str(), 1);
  CompilerSettings settings;
  settings.worker_program = KILN_BAD_WORKER;
  settings.worker_limits.time_ms_max = endless ? 1000 : 60'000;
  settings.worker_limits.memory_bytes_max = std::uint64_t{400} << 20;
  return settings;
}

CompileInput any_input() {
  return {"op", "op/one", {}, arch("gfx90a"), {"one.cu", ""}, {}, {"f"}, {}};
}

struct Case {
  explicit Case(const CompilerSettings& settings)
      : pool(std::make_shared<WorkerPool>(settings)), memory(std::make_shared<MapCrashMemory>()) {
    auto made = std::make_unique<CountingCompiler>();
    inner = made.get();
    compiler = std::make_unique<IsolatedCompiler>(
        std::move(made), IsolatedCompiler::Traits{"The compiler", std::nullopt}, pool, memory);
  }
  std::shared_ptr<WorkerPool> pool;
  std::shared_ptr<MapCrashMemory> memory;
  CountingCompiler* inner;
  std::unique_ptr<IsolatedCompiler> compiler;
};

class BadWorker : public testing::TestWithParam<Misdeed> {};

TEST_P(BadWorker, GivesAnArtifactOrAnErrorAndLeavesNothing) {
  const Misdeed& misdeed = GetParam();
  const NothingLeftBehind nothing;
  Case one(bad_worker_settings(misdeed.how));
  const auto start = std::chrono::steady_clock::now();
  const auto artifact = one.compiler->compile(any_input());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  EXPECT_EQ(one.inner->compiles, misdeed.then == Then::compiled_here ? 1 : 0);
  ASSERT_EQ(artifact.has_value(), misdeed.then == Then::compiled_here) << words_of(artifact);
  const std::vector<std::string> subjects = one.memory->subjects();
  if (artifact) {
    EXPECT_EQ(artifact->compiler, "counting");
    EXPECT_TRUE(subjects.empty());
    return;
  }
  EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
  EXPECT_NE(artifact.error().message.find(misdeed.says), std::string::npos)
      << artifact.error().message;
  EXPECT_NE(artifact.error().message.find("The compiler"), std::string::npos);
  EXPECT_EQ(artifact.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(artifact.error().log, "the worker's last words\n");
  ASSERT_EQ(subjects.size(), *misdeed.remembers ? 1U : 0U);
  for (const std::string& subject : subjects) {
    EXPECT_TRUE(subject.starts_with(misdeed.remembers)) << subject;
  }
}

// A worker that served before may have been ruined by that, so a new one is asked: here it, too,
// answers its first question well.
TEST_P(BadWorker, IsReplacedWhenItWasUsedBefore) {
  const Misdeed& misdeed = GetParam();
  if (std::string_view(misdeed.how) == "at_start") return;
  const NothingLeftBehind nothing;
  Case one(bad_worker_settings("late_" + std::string(misdeed.how)));
  ASSERT_TRUE(one.compiler->can_compile(arch("gfx90a")));
  ASSERT_TRUE(one.compiler->can_compile(arch("gfx908")) || misdeed.then == Then::failed);
  const bool at_its_limit =
      std::string_view(misdeed.says).find("within") != std::string_view::npos ||
      std::string_view(misdeed.how) == "memory";
  WorkerCounts expected;
  // An answer that makes no sense is found out above the pool, and a limit is one for all.
  const bool replaced = !at_its_limit && std::string_view(misdeed.how) != "no_artifact";
  expected.started = replaced ? 2 : 1;
  expected.retries = replaced ? 1 : 0;
  expected.answers = at_its_limit ? 1 : 2;
  expected.failures = at_its_limit ? 1 : 0;
  EXPECT_EQ(one.pool->counts(), expected)
      << one.pool->counts().started << ' ' << one.pool->counts().retries << ' '
      << one.pool->counts().answers << ' ' << one.pool->counts().failures;
}

INSTANTIATE_TEST_SUITE_P(Each, BadWorker, testing::ValuesIn(kMisdeeds),
                         [](const auto& misdeed) { return std::string(misdeed.param.how); });

// The crash is of this arch here, since the empty kernel dies too: nothing asks for it again.
TEST(BadWorkers, ACrashIsRememberedAndNobodyAsksAgain) {
  const NothingLeftBehind nothing;
  Case one(bad_worker_settings("abort"));
  EXPECT_FALSE(one.compiler->compile(any_input()));
  const WorkerCounts before = one.pool->counts();
  CompileInput other = any_input();
  other.source.text = "something else";
  const auto again = one.compiler->compile(other);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("died on gfx90a"), std::string::npos)
      << again.error().message;
  EXPECT_FALSE(one.compiler->can_compile(arch("gfx90a")));
  EXPECT_EQ(one.pool->counts(), before);

  // Another process, with the same memory.
  auto inner = std::make_unique<CountingCompiler>();
  const auto pool = std::make_shared<WorkerPool>(bad_worker_settings("abort"));
  IsolatedCompiler next(std::move(inner), {"The compiler", std::nullopt}, pool, one.memory);
  EXPECT_FALSE(next.compile(any_input()));
  EXPECT_EQ(pool->counts(), WorkerCounts{});
}

struct NoWorker {
  const char* name;
  const char* program;
};
// What CTest lists instead of the bytes.
void PrintTo(const NoWorker& one, std::ostream* out) {
  *out << one.program;
}
class MissingWorker : public testing::TestWithParam<NoWorker> {};

TEST_P(MissingWorker, IsDoneWithout) {
  const NothingLeftBehind nothing;
  CompilerSettings settings;
  settings.worker_program = GetParam().program;
  Case one(settings);
  const auto artifact = one.compiler->compile(any_input());
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(one.inner->compiles, 1);
  EXPECT_TRUE(one.compiler->can_compile(arch("gfx90a")));
  EXPECT_EQ(one.inner->asked, 1);
  EXPECT_TRUE(one.compiler->emit(any_input(), "text"));
  EXPECT_TRUE(one.compiler->describe(nullptr));
  EXPECT_EQ(one.pool->counts().started, 0U);
}

INSTANTIATE_TEST_SUITE_P(Each, MissingWorker,
                         testing::Values(NoWorker{"no_file", "/no/such/kiln-worker"},
                                         NoWorker{"not_executable", "/etc/passwd"},
                                         NoWorker{"a_folder", "/tmp"},
                                         NoWorker{"ends_at_once", "/bin/true"},
                                         NoWorker{"another_program", "/bin/cat"}),
                         [](const auto& which) { return std::string(which.param.name); });

TEST(BadWorkers, WithoutATemporaryFolderItIsDoneHere) {
  const NothingLeftBehind nothing;
  setenv("TMPDIR", "/no/such/folder", 1);
  Case one(bad_worker_settings("abort"));
  EXPECT_TRUE(one.compiler->compile(any_input()));
  EXPECT_EQ(one.inner->compiles, 1);
}

}  // namespace
}  // namespace kiln::test
