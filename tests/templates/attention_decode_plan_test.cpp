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
const Implementation& matrix() {
  return attention().implementations[0];
}
const Implementation& latent() {
  return attention().implementations[1];
}
const Implementation& gpu() {
  return attention().implementations[2];
}
const Implementation& cpu() {
  return attention().implementations[3];
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
  params.q.data = memory;
  params.k.data = params.v.data = memory;
  params.pages = params.lengths = numbers;
  params.out.data = params.workspace = memory;
  params.batch = batch;
  params.q_tokens = 1;
  params.window_left = -1;
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

TEST(AttentionDecodePlan, QueryTokensMakeRows) {
  AttentionDecodeParams params = params_with(2, 4);
  params.q_tokens = 9;
  const LaunchPlan gpu_plan = gpu().plan(shape_with(), &params);
  EXPECT_EQ(gpu_plan[0].dims.grid, (Dim3{2 * 8 * 9, 4, 1}));
  EXPECT_EQ(gpu_plan[1].dims.grid, (Dim3{2 * 9 * 32, 1, 1}));
  // 36 rows for each key/value head, in two items of 18.
  EXPECT_EQ(cpu().plan(shape_with(), &params)[0].dims.grid, (Dim3{2 * 8 * 2 * 4, 1, 1}));
}

TEST(AttentionDecodePlan, MatricesTakeEightRowsOrTwiceAsMany) {
  AttentionDecodeParams params = params_with(2, 4);
  params.q_tokens = 5;  // 20 rows for each key/value head
  const LaunchPlan plan = matrix().plan(shape_with(), &params);
  EXPECT_EQ(plan[0].dims.grid, (Dim3{2 * 8 * 3, 4, 1}));
  EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
  EXPECT_EQ(plan[1].dims.grid, (Dim3{2 * 5 * 32, 1, 1}));
  params.q_tokens = 1;
  EXPECT_EQ(matrix().plan(shape_with({{"Hkv", "2"}}), &params)[0].dims.grid, (Dim3{2 * 2, 4, 1}));
  const Shape wide = shape_with({{"Hkv", "2"}, {"D_qk", "256"}, {"D_vo", "256"}});
  EXPECT_EQ(matrix().plan(wide, &params)[0].dims.grid, (Dim3{2 * 2 * 2, 4, 1}));
}

TEST(AttentionDecodePlan, ALatentCacheTakesThirtyTwoHeads) {
  const AttentionDecodeParams params = params_with(2, 4);
  const LaunchPlan mla = latent().plan(shape_with(kMla), &params);
  EXPECT_EQ(mla[0].dims.grid, (Dim3{2 * 4, 4, 1}));
  EXPECT_EQ(mla[0].dims.block, (Dim3{256, 1, 1}));
  EXPECT_EQ(mla[1].dims.block, (Dim3{128, 1, 1}));
}

TEST(AttentionDecodePlan, MatricesServeCachesAlignedToSixteenBytes) {
  alignas(16) static float aligned[8];
  AttentionDecodeParams params = params_with(2, 1);
  params.k.data = params.v.data = aligned;
  EXPECT_TRUE(matrix().can_serve(shape_with(), &params));
  params.v.token_stride = 4;
  EXPECT_EQ(matrix().can_serve(shape_with(), &params).reason(),
            "rows of v are not aligned to 16 bytes");
  params.v.token_stride = 8;
  EXPECT_TRUE(matrix().can_serve(shape_with(), &params));
  EXPECT_FALSE(matrix().can_serve(shape_with({{"kv", "e4m3"}}), &params));
  params.k.data = aligned + 1;
  EXPECT_EQ(matrix().can_serve(shape_with(), &params).reason(),
            "rows of k are not aligned to 16 bytes");
}

TEST(AttentionDecodePlan, ALatentCacheIsBestServedFromFourRowsOn) {
  AttentionDecodeParams params = params_with(2, 1);
  EXPECT_TRUE(latent().is_best(shape_with(kMla), &params));
  EXPECT_FALSE(latent().is_best(shape_with({{"Hkv", "32"}, {"v_in_k", "true"}}), &params));
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
  EXPECT_EQ(attention_decode_splits(8, 4096), 32);  // by length
  EXPECT_EQ(attention_decode_splits(64, 4096), 6);  // by blocks
  EXPECT_EQ(attention_decode_splits(256, 4096), 1);
  EXPECT_EQ(attention_decode_splits(1, 1 << 20), 128);
  EXPECT_EQ(attention_decode_splits(1, 128), 1);
  EXPECT_EQ(attention_decode_splits(1, 0), 1);
  EXPECT_EQ(attention_decode_splits(0, 4096), 1);
}

TEST(AttentionDecodeSplits, AWindowLeavesFewerTokens) {
  EXPECT_EQ(attention_decode_tokens_max(100000, 1, -1), 100000);
  EXPECT_EQ(attention_decode_tokens_max(100000, 2, 1000), 1066);
  EXPECT_EQ(attention_decode_tokens_max(100, 1, 1000), 100);
}

TEST(AttentionDecodeServe, SaysWhatIsMissingOrOutOfRange) {
  struct Case {
    void (*spoil)(AttentionDecodeParams&);
    const char* reason;
  };
  const Case cases[] = {
      {[](auto& p) { p.k.data = nullptr; }, "k is null"},
      {[](auto& p) { p.lengths = nullptr; }, "seq_lens is null"},
      {[](auto& p) { p.workspace = nullptr; }, "workspace is null"},
      {[](auto& p) { p.page_size = 0; }, "page_size is 0"},
      {[](auto& p) { p.pages_max = -1; }, "pages_max is -1"},
      {[](auto& p) { p.splits = 0; }, "splits is 0; 1 to 65535 are done"},
      {[](auto& p) { p.q_tokens = 0; }, "q_tokens is 0"},
      {[](auto& p) { p.split_tokens = 65; }, "split_tokens is 65; it takes multiples of 64"},
      {[](auto& p) { p.split_tokens = 64; },
       "2 splits of 64 tokens do not hold the 4096 that a sequence may have"},
      {[](auto& p) { p.pages_max = 1 << 27; },
       "a sequence may have 134217728 pages of 16 tokens; at most 1073741824 tokens"},
      {[](auto& p) { p.batch = 1 << 26; },
       "batch 67108864 times 1 tokens times Hq=32 times 2 splits is above 2147483647"},
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
  params.pages = nullptr;
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
  EXPECT_EQ(reason({{"kv", "e4m3"}, {"io", "f32"}, {"softcap", "true"}}), "");
  EXPECT_EQ(reason({{"D_qk", "96"}, {"D_vo", "192"}}), "");
  EXPECT_EQ(reason({{"D_qk", "100"}}), "D_qk=100 is not a multiple of 16");
  EXPECT_EQ(reason({{"D_vo", "1024"}}), "D_vo=1024 is not a multiple of 16 up to 512");
  EXPECT_EQ(reason({{"D_vo", "256"}, {"v_in_k", "true"}}),
            "with v_in_k=true the values are a part of the keys, but D_vo=256 is above D_qk=128");
  EXPECT_EQ(reason({{"Hq", "12"}}),
            "Hq=12 is not a multiple of Hkv=8: each key/value head serves as many query heads");
  const auto by = [](const Implementation& one, std::vector<NameValue> given, const char* arch) {
    return can_build(one, shape_with(std::move(given)), *Arch::parse(arch)).reason();
  };
  const auto by_matrix = [&](std::vector<NameValue> given, const char* arch) {
    return by(matrix(), std::move(given), arch);
  };
  for (const char* arch : {"sm_80", "sm_90a", "gfx90a", "gfx942", "simt", "simt:warp64"}) {
    EXPECT_EQ(by_matrix({}, arch), "") << arch;
    EXPECT_EQ(by(latent(), kMla, arch), "") << arch;
    EXPECT_EQ(by_matrix({{"D_qk", "256"}, {"D_vo", "256"}}, arch), "") << arch;
  }
  EXPECT_EQ(by_matrix({{"io", "f16"}, {"kv", "f16"}}, "sm_90a"), "");
  EXPECT_EQ(by_matrix({{"io", "f16"}, {"kv", "f16"}}, "gfx942"),
            "f16 is multiplied on NVIDIA alone; here bf16 is");
  EXPECT_EQ(by_matrix({{"kv", "e4m3"}}, "sm_90a"), "");
  EXPECT_EQ(by_matrix({{"kv", "e4m3"}}, "gfx942"),
            "f16 is multiplied on NVIDIA alone; here bf16 is");
  EXPECT_EQ(by_matrix({{"io", "f16"}}, "sm_90a"),
            "io=f16 kv=bf16; it multiplies bf16 or f16 with its like or fp8");
  EXPECT_EQ(by_matrix(kMla, "sm_90a"), "values in the keys are attention_decode/latent's");
  EXPECT_EQ(by(latent(), {}, "sm_90a"), "it is for values in the keys (v_in_k)");
  EXPECT_EQ(by_matrix({}, "gfx1100"),
            "gfx1100 has no MFMA on bf16; gfx90a, gfx942 and gfx950 have");
  EXPECT_EQ(by_matrix({{"D_qk", "512"}, {"D_vo", "512"}}, "sm_90a"),
            "D_qk + D_vo is 1024; registers hold tiles of up to 512");
  EXPECT_EQ(by_matrix({{"variant", "sink"}}, "sm_90a"),
            "variant=sink: it has no place for variants");
  std::vector<NameValue> mla_variant = kMla;
  mla_variant.emplace_back("variant", "document");
  EXPECT_EQ(by(latent(), mla_variant, "sm_90a"), "variant=document: it has no place for variants");
  EXPECT_EQ(reason(mla_variant), "");
  EXPECT_EQ(can_build(gpu(), shape_with(), *Arch::parse("sm_75")).reason(),
            "sm_75 is older than sm_80");
}

}  // namespace
}  // namespace kiln
