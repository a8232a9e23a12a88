// SPDX-License-Identifier: Apache-2.0
// Every GPU source compiles, for every arch that it claims and a compiler is here for.
#include <gtest/gtest.h>

#include <algorithm>

#include "jit/amd_metadata.h"
#include "templates/registry.h"
#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

// A compiler of the chain, and an arch.
struct Target {
  const char* compiler;
  const char* arch;
};
// What CTest lists instead of the bytes.
void PrintTo(const Target& one, std::ostream* out) {
  *out << one.compiler << " " << one.arch;
}
constexpr Target kTargets[] = {{"nvrtc", "sm_80"},        {"nvrtc", "sm_90a"},
                               {"nvrtc", "sm_100a"},      {"nvrtc", "sm_120"},
                               {"nvrtc", "sm_130"},  // as PTX
                               {"hiprtc", "gfx90a"},      {"hiprtc", "gfx1030"},
                               {"llvm", "gfx90a"},        {"llvm", "gfx90a:sramecc+:xnack-"},
                               {"llvm", "gfx942"},        {"llvm", "gfx942:sramecc+:xnack-"},
                               {"llvm", "gfx942:xnack+"}, {"llvm", "gfx950"},
                               {"llvm", "gfx1030"},       {"llvm", "gfx1100"},
                               {"llvm", "gfx1201"}};

class GpuCompile : public CompilerTest, public testing::WithParamInterface<Target> {
 protected:
  GpuCompile() : CompilerTest(GetParam().arch, GetParam().compiler) {}

  Arch target() const { return arch(GetParam().arch); }
  // AMD's chips say in the code how wide their wavefronts are, which the sources were told too.
  void expect_warp_size(const CompileInput& input, const Artifact& artifact) const {
    if (artifact.format != CodeFormat::hsaco) return;
    const auto object = read_amd_metadata(artifact.code);
    ASSERT_TRUE(object) << words_of(object);
    for (const auto& [symbol, kernel] : object->kernels) {
      const std::string told = "-DKILN_WARP_SIZE=" + std::to_string(kernel.warp_size);
      EXPECT_NE(std::find(input.options.begin(), input.options.end(), told), input.options.end())
          << symbol << " has wavefronts of " << kernel.warp_size;
    }
  }

  // An older compiler is here and does not know the newer archs.
  void SetUp() override {
    CompilerTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const Answer answer = compiler_.can_compile(target());
    if (!answer) GTEST_SKIP() << answer.reason();
  }
};

// The op's default shape; where an implementation is meant for others, one of those.
Shape shape_for(const Op& op, const Implementation& implementation) {
  std::vector<NameValue> values;
  if (implementation.name == "attention_decode/latent") {
    values = {{"Hq", "16"}, {"Hkv", "1"}, {"D_qk", "576"}, {"D_vo", "512"}, {"v_in_k", "true"}};
  }
  return parse_arguments(op, values)->shape;
}

TEST_P(GpuCompile, EveryImplementationWithoutSpills) {
  for (const Op& op : ops()) {
    for (const Implementation& implementation : op.implementations) {
      const Shape shape = shape_for(op, implementation);
      if (!can_build(implementation, shape, target())) continue;
      const auto input = make_input(op, implementation, shape, target());
      ASSERT_TRUE(input) << words_of(input);
      const auto artifact = compiler_.compile(*input);
      ASSERT_TRUE(artifact) << words_of(artifact);
      EXPECT_FALSE(artifact->code.empty());
      expect_warp_size(*input, *artifact);
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

INSTANTIATE_TEST_SUITE_P(Archs, GpuCompile, testing::ValuesIn(kTargets), [](const auto& target) {
  return std::string(target.param.compiler) + "_" + test_name(target.param.arch);
});

}  // namespace
}  // namespace kiln::test
