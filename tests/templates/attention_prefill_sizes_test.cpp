// SPDX-License-Identifier: Apache-2.0
// attention_prefill's kernels for NVIDIA compile for each head size, spill nothing, and keep to the
// shared memory that every GPU gives without asking.
#include <gtest/gtest.h>

#include "templates/registry.h"
#include "tests/templates/cpu_library.h"

namespace kiln::test {
namespace {

struct HeadSizes {
  const char* d_qk;
  const char* d_vo;
};
// What CTest lists instead of the bytes.
void PrintTo(const HeadSizes& one, std::ostream* out) {
  *out << one.d_qk << " and " << one.d_vo;
}

class AttentionPrefillSizes : public CompilerTest, public testing::WithParamInterface<HeadSizes> {
 protected:
  AttentionPrefillSizes() : CompilerTest("sm_80") {}
};

TEST_P(AttentionPrefillSizes, CompileWithoutSpills) {
  const Op& op = **find_op("attention_prefill");
  const std::vector<NameValue> given = {{"D_qk", GetParam().d_qk}, {"D_vo", GetParam().d_vo}};
  const Shape shape = parse_arguments(op, given)->shape;
  for (const Implementation& implementation : op.implementations) {
    if (!can_build(implementation, shape, arch("sm_80"))) continue;
    SCOPED_TRACE(implementation.name);
    const auto input = make_input(op, implementation, shape, arch("sm_80"));
    ASSERT_TRUE(input) << words_of(input);
    const auto artifact = compiler_.compile(*input);
    ASSERT_TRUE(artifact) << words_of(artifact);
    const KernelResources& resources = artifact->entries.at(0).resources;
    EXPECT_EQ(resources.spill_store_bytes.value_or(0), 0);
    EXPECT_EQ(resources.stack_bytes.value_or(0), 0);
    EXPECT_LE(resources.shared_bytes_static.value_or(0), 48 * 1024);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, AttentionPrefillSizes,
                         testing::Values(HeadSizes{"64", "64"}, HeadSizes{"72", "72"},
                                         HeadSizes{"192", "128"}, HeadSizes{"192", "192"},
                                         HeadSizes{"256", "256"}),
                         [](const auto& sizes) {
                           return std::string(sizes.param.d_qk) + "_" + sizes.param.d_vo;
                         });

}  // namespace
}  // namespace kiln::test
