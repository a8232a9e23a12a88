// SPDX-License-Identifier: Apache-2.0
// The GPU kernels of kda_decode keep their states in registers: no spill and no stack on any target
// at any head size, layout and state type, as the compilers' own metadata say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <vector>

#include "templates/registry.h"
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

constexpr const char* kArchs[] = {"sm_80", "sm_90a", "sm_100a", "sm_120", "gfx90a", "gfx942"};

class KdaDecodeCompile : public CompilerTest, public testing::WithParamInterface<const char*> {
 protected:
  KdaDecodeCompile() : CompilerTest(GetParam()) {}

  void SetUp() override {
    std::string reasons;  // an old hipRTC knows no gfx942, which LLVM does
    for (Compiler* compiler : compilers_.chain(arch(GetParam()))) {
      const auto described = compiler->describe();
      const Answer answer = described ? compiler->can_compile(arch(GetParam()))
                                      : Answer::no(described.error().message);
      if (answer) {
        chosen_ = compiler;
        return;
      }
      reasons += answer.reason() + "; ";
    }
    GTEST_SKIP() << reasons;
  }

  Compiler* chosen_ = nullptr;

  void expect_registers_only(const std::vector<NameValue>& given) {
    const Op& op = **find_op("kda_decode");
    const Shape shape = parse_arguments(op, given)->shape;
    for (const Implementation& one : op.implementations) {
      if (!can_build(one, shape, arch(GetParam()))) continue;
      const auto artifact = chosen_->compile(*make_input(op, one, shape, arch(GetParam())));
      ASSERT_TRUE(artifact) << words_of(artifact);
      const KernelResources& used = artifact->entries[0].resources;
      const std::string what = one.name + " " + shape.text();
      EXPECT_EQ(used.spill_store_bytes.value_or(0), 0) << what;
      EXPECT_EQ(used.spill_load_bytes.value_or(0), 0) << what;
      EXPECT_EQ(used.stack_bytes.value_or(0), 0) << what;
      EXPECT_GT(used.registers.value_or(1), 0) << what;
      EXPECT_LE(used.shared_bytes_static.value_or(0), 48 << 10) << what;
    }
  }
};

// Head sizes by layout and state type, and what the other words of a shape change: more loads,
// another gate.
std::vector<std::vector<NameValue>> all_shapes() {
  std::vector<std::vector<NameValue>> shapes = {
      {{"V", "256"}, {"io", "f32"}, {"gate_io", "f32"}, {"gate", "lower_bound"}},
      {{"V", "64"}, {"HV", "512"}, {"gate", "scalar"}, {"beta", "doubled"}}};
  for (const char* k : {"256", "128", "64"}) {
    for (const char* layout : {"VK", "KV"}) {
      for (const char* state : {"f32", "bf16"}) {
        shapes.push_back({{"K", k}, {"layout", layout}, {"state", state}});
      }
    }
  }
  return shapes;
}

// Compilers take seconds for all of them, which tools/soak.sh asks for; each arch has some, another
// choice for each, and together they have every one.
TEST_P(KdaDecodeCompile, NothingSpills) {
  const std::vector<std::vector<NameValue>> shapes = all_shapes();
  const std::size_t archs = std::size(kArchs);
  const auto own = static_cast<std::size_t>(
      std::find(std::begin(kArchs), std::end(kArchs), std::string(GetParam())) - kArchs);
  const bool all = std::getenv("KILN_SOAK_KDA_SHAPES") != nullptr;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (all || i % archs == own) expect_registers_only(shapes[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, KdaDecodeCompile, testing::ValuesIn(kArchs),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace kiln::test
