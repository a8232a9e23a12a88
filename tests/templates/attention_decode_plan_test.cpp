// SPDX-License-Identifier: Apache-2.0
// attention_decode's host side: what is built and served, with which launches, in how many splits.
#include <gtest/gtest.h>

#include "templates/kernels/attention_decode/params.h"
#include "templates/kernels/attention_decode/splits.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& attention() {
  return **find_op("attention_decode");
}
const Implementation& gpu() {
  return attention().implementations[0];
}
const Implementation& cpu() {
  return attention().implementations[1];
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(attention(), given)->shape;
}
const std::vector<NameValue> kMla = {
    {"Hq", "128"}, {"Hkv", "1"}, {"D_qk", "576"}, {"D_vo", "512"}, {"v_in_k", "true"}};

alignas(16) float memory[8];
int numbers[8];

AttentionDecodeParams params_with(int batch, int splits) {
  AttentionDecodeParams params{};
  params.q.data = params.k.data = params.v.data = memory;
  params.block_table = params.seq_lens = numbers;
  params.out = params.workspace = memory;
  params.batch = batch;
  params.page_size = 16;
  params.pages_max = 256;
  params.splits = splits;
  return params;
}

TEST(AttentionDecodePlan, BlocksAreHeadsOfSequencesTimesSplits) {
  const AttentionDecodeParams params = params_with(3, 5);
  const LaunchPlan plan = gpu().plan(shape_with(), &params);
  ASSERT_EQ(plan.size(), 2U);
  EXPECT_EQ(plan[0].entry, 0U);
  EXPECT_EQ(plan[0].dims.grid, (Dim3{3 * 8, 5, 1}));
  EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
  EXPECT_EQ(plan[1].entry, 1U);
  EXPECT_EQ(plan[1].dims.grid, (Dim3{3 * 32, 1, 1}));
  EXPECT_EQ(plan[1].dims.block, (Dim3{128, 1, 1}));
  for (const LaunchStep& step : plan) EXPECT_TRUE(step.dims.programmatic_dependent_launch);
}

TEST(AttentionDecodePlan, ManyHeadsOnOneCacheAreSharedOut) {
  const AttentionDecodeParams params = params_with(2, 4);
  EXPECT_EQ(gpu().plan(shape_with(kMla), &params)[0].dims.grid, (Dim3{2 * 16, 4, 1}));
  EXPECT_EQ(cpu().plan(shape_with(kMla), &params)[0].dims.grid, (Dim3{2 * 4 * 4, 1, 1}));
}

TEST(AttentionDecodePlan, InOnePieceThereIsNothingToMerge) {
  const AttentionDecodeParams params = params_with(3, 1);
  for (const Implementation* one : {&gpu(), &cpu()}) {
    EXPECT_EQ(one->plan(shape_with(), &params).size(), 1U) << one->name;
  }
}

TEST(AttentionDecodePlan, AnEmptyBatchLaunchesNothing) {
  const AttentionDecodeParams params = params_with(0, 3);
  for (const Implementation* one : {&gpu(), &cpu()}) {
    EXPECT_TRUE(one->plan(shape_with(), &params).empty()) << one->name;
    EXPECT_TRUE(one->can_serve(shape_with(), &params)) << one->name;
  }
}

TEST(AttentionDecodeSplits, FewSequencesAreSplitAndManyAreNot) {
  EXPECT_EQ(attention_decode_splits(8, 4096), 16);  // by length
  EXPECT_EQ(attention_decode_splits(64, 4096), 8);  // by blocks
  EXPECT_EQ(attention_decode_splits(512, 4096), 1);
  EXPECT_EQ(attention_decode_splits(1, 1 << 20), 128);
  EXPECT_EQ(attention_decode_splits(1, 256), 1);
  EXPECT_EQ(attention_decode_splits(1, 0), 1);
  EXPECT_EQ(attention_decode_splits(0, 4096), 1);
}

TEST(AttentionDecodeServe, SaysWhatIsMissingOrOutOfRange) {
  struct Case {
    void (*spoil)(AttentionDecodeParams&);
    const char* reason;
  };
  const Case cases[] = {
      {[](auto& p) { p.k.data = nullptr; }, "k is null"},
      {[](auto& p) { p.seq_lens = nullptr; }, "seq_lens is null"},
      {[](auto& p) { p.workspace = nullptr; }, "workspace is null"},
      {[](auto& p) { p.page_size = 0; }, "page_size is 0"},
      {[](auto& p) { p.pages_max = -1; }, "pages_max is -1"},
      {[](auto& p) { p.splits = 0; }, "splits is 0; 1 to 1024 are done"},
      {[](auto& p) { p.pages_max = 1 << 27; },
       "a sequence may have 134217728 pages of 16 tokens; at most 1073741824 tokens"},
      {[](auto& p) { p.batch = 1 << 26; },
       "batch 67108864 times Hq=32 times 2 splits is above 2147483647"},
  };
  for (const Case& one : cases) {
    AttentionDecodeParams params = params_with(2, 2);
    EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
    one.spoil(params);
    EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), one.reason);
    EXPECT_EQ(gpu().can_serve(shape_with(), &params).reason(), one.reason);
  }
}

TEST(AttentionDecodeServe, WithoutPagesOrSplitsLessIsNeeded) {
  AttentionDecodeParams params = params_with(2, 1);
  params.workspace = nullptr;
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params.pages_max = 0;
  params.k.data = params.v.data = nullptr;
  params.block_table = nullptr;
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
}

TEST(AttentionDecodeBuild, RefusalsSayWhy) {
  const Arch sm = *Arch::parse("sm_90a");
  const auto reason = [&](std::vector<NameValue> given) {
    return can_build(gpu(), shape_with(std::move(given)), sm).reason();
  };
  EXPECT_EQ(reason({}), "");
  EXPECT_EQ(reason(kMla), "");
  EXPECT_EQ(reason({{"D_qk", "64"}, {"D_vo", "64"}}), "");
  EXPECT_EQ(reason({{"kv", "e4m3"}}),
            "not built yet by this implementation: kv=e4m3; it builds bf16");
  EXPECT_EQ(reason({{"D_qk", "96"}}),
            "not built yet by this implementation: D_qk=96; it builds multiples of 64 up to 1024");
  EXPECT_EQ(reason({{"D_vo", "192"}}),
            "not built yet by this implementation: D_vo=192; it builds 64, 128, 256 and 512");
  EXPECT_EQ(reason({{"D_vo", "256"}, {"v_in_k", "true"}}),
            "with v_in_k=true the values are a part of the keys, but D_vo=256 is above D_qk=128");
  EXPECT_EQ(reason({{"Hq", "12"}}),
            "Hq=12 is not a multiple of Hkv=8: each key/value head serves as many query heads");
  EXPECT_EQ(can_build(gpu(), shape_with(), *Arch::parse("sm_75")).reason(),
            "sm_75 is older than sm_80");
}

}  // namespace
}  // namespace kiln
