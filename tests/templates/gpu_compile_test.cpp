// SPDX-License-Identifier: Apache-2.0
// Every GPU source compiles, for every arch that it claims and a compiler is here for.
#include <gtest/gtest.h>

#include "templates/registry.h"
#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

constexpr const char* kArchs[] = {"sm_80", "sm_90a", "sm_100a", "sm_120", "gfx90a", "gfx1030"};

class GpuCompile : public CompilerTest, public testing::WithParamInterface<const char*> {
 protected:
  GpuCompile() : CompilerTest(GetParam()) {}

  Arch target() const { return arch(GetParam()); }

  // An older compiler is here and does not know the newer archs.
  void SetUp() override {
    CompilerTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const Answer answer = compiler_.can_compile(target());
    if (!answer) GTEST_SKIP() << answer.reason();
  }
};

TEST_P(GpuCompile, EveryImplementationWithoutSpills) {
  for (const Op& op : ops()) {
    const Shape shape = parse_arguments(op, {})->shape;
    for (const Implementation& implementation : op.implementations) {
      if (!can_build(implementation, shape, target())) continue;
      const auto input = make_input(op, implementation, shape, target());
      ASSERT_TRUE(input) << words_of(input);
      const auto artifact = compiler_.compile(*input);
      ASSERT_TRUE(artifact) << words_of(artifact);
      EXPECT_FALSE(artifact->code.empty());
      for (const EntryPoint& entry : artifact->entries) {
        EXPECT_EQ(entry.resources.spill_store_bytes.value_or(0), 0) << implementation.name;
        // hipRTC 5.2 keeps the weights of qk_rmsnorm/packs in 32 bytes of scratch on gfx90a.
        const int stack_bytes_max = target().family() == ArchFamily::amd ? 32 : 0;
        EXPECT_LE(entry.resources.stack_bytes.value_or(0), stack_bytes_max) << implementation.name;
      }
    }
  }
}

TEST_P(GpuCompile, TheWholeDialect) {
  const CompileInput input =
      test_source_input("dialect.cu", target(), {"kiln::dialect_test::dialect"});
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->entries.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Archs, GpuCompile, testing::ValuesIn(kArchs),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace kiln::test
