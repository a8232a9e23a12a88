// SPDX-License-Identifier: Apache-2.0
// The Runtime with templates of a user's own: the same cache, checks and diagnosis as Kiln's ops.
#include "kiln/runtime.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "cache/store.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::LlvmRuntime;

class RuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm_.available()) GTEST_SKIP() << llvm_.why_not();
  }
  Runtime& runtime() { return llvm_.runtime(); }
  // Another process's view of the same cache, as far as one process can have it.
  LlvmRuntime second(CachePolicy policy) { return LlvmRuntime(llvm_.folder(), policy); }

  LlvmRuntime llvm_;
};

int run(const Kernel& kernel, int value) {
  int result = 0;
  const test::AddParams params{&value, &result};
  const LaunchPlan plan = {{0, LaunchDims{}}};
  const auto launched = kernel.launch(plan, &params, sizeof params, {});
  EXPECT_TRUE(launched) << launched.error().message;
  return result;
}

TEST_F(RuntimeTest, AUserTemplateCompilesOnceAndRuns) {
  const auto kernel = runtime().kernel(test::add_constant(5));
  ASSERT_TRUE(kernel) << kernel.error().message << kernel.error().log;
  EXPECT_EQ(run(**kernel, 37), 42);
  EXPECT_EQ(*runtime().kernel(test::add_constant(5)), *kernel);
  Counters expected;
  expected.compiles = 1;
  EXPECT_EQ(runtime().counters(), expected);
}

TEST_F(RuntimeTest, SixteenThreadsCompileOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this] {
      const auto kernel = runtime().kernel(test::add_constant(6));
      ASSERT_TRUE(kernel) << kernel.error().message;
      EXPECT_EQ(run(**kernel, 1), 7);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runtime().counters().compiles, 1U);
}

TEST_F(RuntimeTest, APreparedArtifactIsThenAMemoryHit) {
  EXPECT_EQ(runtime().prepare(test::add_constant(1))->tier, Tier::compiled);
  EXPECT_EQ(runtime().prepare(test::add_constant(1))->tier, Tier::memory);
  EXPECT_EQ(runtime().counters().memory_hits, 1U);
}

TEST_F(RuntimeTest, AStoredArtifactIsEqualAndADiskHit) {
  const Prepared made = *runtime().prepare(test::add_constant(1));
  LlvmRuntime other = second(CachePolicy::locked);
  const auto found = other.runtime().prepare(test::add_constant(1));
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->tier, Tier::disk);
  EXPECT_EQ(found->artifact->code, made.artifact->code);
  EXPECT_EQ(found->artifact->entries, made.artifact->entries);
  EXPECT_EQ(found->artifact->compiler, "llvm");
}

TEST_F(RuntimeTest, OneTextUnderTwoNamesOrOneNameWithTwoTextsNeverMixes) {
  CompileInput changed = test::add_constant(1);
  changed.source.text.replace(changed.source.text.find("+ CONSTANT"), 10, "- CONSTANT");
  EXPECT_EQ(run(**runtime().kernel(test::add_constant(1)), 10), 11);
  EXPECT_EQ(run(**runtime().kernel(changed), 10), 9);
  EXPECT_EQ(runtime().counters().compiles, 2U);
}

TEST_F(RuntimeTest, ACompileErrorCarriesTheCompilersOwnWordsAndLine) {
  CompileInput broken = test::add_constant(1);
  broken.source.text += "int broken = nonsense;\n";
  const auto kernel = runtime().kernel(broken);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::compile_failed);
  EXPECT_NE(kernel.error().log.find("add_constant.cpp:9"), std::string::npos) << kernel.error().log;
  EXPECT_NE(kernel.error().log.find("nonsense"), std::string::npos) << kernel.error().log;
  EXPECT_EQ(runtime().counters().compile_failures, 1U);
  // Nothing of it is stored.
  EXPECT_TRUE((*runtime().store())->list({})->empty());
}

TEST_F(RuntimeTest, RefusesWhatCannotBeCached) {
  CompileInput timed = test::add_constant(1);
  timed.source.text += "const char* when = __DATE__;\n";
  EXPECT_NE(runtime().prepare(timed).error().message.find("__DATE__"), std::string::npos);
  CompileInput reading = test::add_constant(1);
  reading.options.emplace_back("-I/usr/include");
  EXPECT_NE(runtime().prepare(reading).error().message.find("-I/usr/include"), std::string::npos);
  CompileInput nameless = test::add_constant(1);
  nameless.name_expressions.clear();
  EXPECT_NE(runtime().prepare(nameless).error().message.find("name expression"), std::string::npos);
}

TEST_F(RuntimeTest, ALockedMissNamesTheNearestEntry) {
  ASSERT_TRUE(runtime().prepare(test::add_constant(1)));
  LlvmRuntime other = second(CachePolicy::locked);
  const auto missed = other.runtime().prepare(test::add_constant(2));
  ASSERT_FALSE(missed);
  EXPECT_EQ(missed.error().code, ErrorCode::cache_miss);
  EXPECT_NE(missed.error().message.find("shape.constant: stored int 1, asked int 2"),
            std::string::npos)
      << missed.error().message;
}

TEST_F(RuntimeTest, ForbiddenCompilesAreMissesUntilTheLastOneLetsGo) {
  ASSERT_TRUE(runtime().prepare(test::add_constant(1)));
  auto first = runtime().forbid_compiles();
  auto copy = first;
  auto third = runtime().forbid_compiles();
  first.reset();
  third.reset();
  EXPECT_EQ(runtime().prepare(test::add_constant(1))->tier, Tier::memory);
  EXPECT_EQ(runtime().prepare(test::add_constant(2)).error().code, ErrorCode::cache_miss);
  copy.reset();
  EXPECT_EQ(runtime().prepare(test::add_constant(2))->tier, Tier::compiled)
      << "at once: a miss is not remembered as a failure is";
}

TEST_F(RuntimeTest, ReadOnlyCompilesAndStoresNothing) {
  ASSERT_TRUE(runtime().prepare(test::add_constant(1)));
  LlvmRuntime other = second(CachePolicy::read_only);
  ASSERT_TRUE(other.runtime().prepare(test::add_constant(1)));
  ASSERT_TRUE(other.runtime().prepare(test::add_constant(2)));
  EXPECT_EQ(other.runtime().counters().disk_hits, 1U);
  EXPECT_EQ(other.runtime().counters().compiles, 1U);
  EXPECT_EQ((*runtime().store())->list({})->size(), 1U);
}

TEST_F(RuntimeTest, OffTouchesNoDisk) {
  LlvmRuntime off(CachePolicy::off);
  ASSERT_TRUE(off.runtime().prepare(test::add_constant(1)));
  EXPECT_FALSE(std::filesystem::exists(off.folder()->path() / "cache"));
}

// A stored object that the loader refuses (here: cut short, with a checksum that fits) is dropped
// and compiled again.
TEST_F(RuntimeTest, ADriverRejectedEntryHeals) {
  const CompileInput input = test::add_constant(3);
  const Prepared made = *runtime().prepare(input);
  Store& store = **runtime().store();
  const StoreRow row = store.list({})->front();
  Artifact cut = *made.artifact;
  cut.code.resize(cut.code.size() / 2);
  ASSERT_TRUE(
      store.put(row.key, {row.record, row.label, to_unfilled_bytes(cut.encode()), row.info}));

  LlvmRuntime other = second(CachePolicy::read_write);
  const auto kernel = other.runtime().kernel(input);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(run(**kernel, 1), 4);
  Counters expected;
  expected.disk_hits = 1;
  expected.rejected_entries = 1;
  expected.compiles = 1;
  EXPECT_EQ(other.runtime().counters(), expected);
  EXPECT_TRUE(second(CachePolicy::locked).runtime().kernel(input));
}

TEST_F(RuntimeTest, AMachineWithoutTheCompilerRunsFromItsCache) {
  ASSERT_TRUE(runtime().prepare(test::add_constant(8)));
  Options options = runtime().options();
  options.compilers.llvm_plugin = "/no/such/libkiln_llvm.so";
  const auto any = *Runtime::create(options);
  const auto kernel = any->kernel(test::add_constant(8));
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(run(**kernel, 1), 9);
  EXPECT_EQ(any->counters().other_toolchain_hits, 1U);

  options.toolchain_policy = ToolchainPolicy::exact;
  const auto exact = *Runtime::create(options);
  const auto refused = exact->kernel(test::add_constant(8));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_NE(refused.error().message.find("KILN_LLVM_LIBRARY"), std::string::npos)
      << refused.error().message;
}

TEST_F(RuntimeTest, AForkedChildGoesOnWithCacheAndKernels) {
  const auto kernel = runtime().kernel(test::add_constant(1));
  ASSERT_TRUE(kernel);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const auto other = runtime().kernel(test::add_constant(2));
    _exit(run(**kernel, 1) == 2 && other && run(**other, 1) == 3 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(second(CachePolicy::locked).runtime().prepare(test::add_constant(2))->tier, Tier::disk);
}

TEST_F(RuntimeTest, LaunchErrorsAreClear) {
  const auto kernel = *runtime().kernel(test::add_constant(1));
  const auto wrong_entry = kernel->launch({{1, LaunchDims{}}}, nullptr, 0, {});
  ASSERT_FALSE(wrong_entry);
  EXPECT_EQ(wrong_entry.error().message, "launch of entry 1 of a kernel that has 1");
  int handle = 0;
  const auto wrong_stream = kernel->launch({{0, LaunchDims{}}}, nullptr, 0, Stream{&handle});
  ASSERT_FALSE(wrong_stream);
  EXPECT_NE(wrong_stream.error().message.find("null stream"), std::string::npos);
}

}  // namespace
}  // namespace kiln
