// SPDX-License-Identifier: Apache-2.0
// attention_prefill's host side: what is built and served, and with which launches.
#include <gtest/gtest.h>

#include "templates/kernels/attention_prefill/cpu_tiles.h"
#include "templates/kernels/attention_prefill/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& op() {
  return **find_op("attention_prefill");
}
const Implementation& named(std::string_view name) {
  for (const Implementation& one : op().implementations) {
    if (one.name == name) return one;
  }
  std::abort();
}
const Implementation& mma() {
  return named("attention_prefill/mma");
}
const Implementation& gpu() {
  return named("attention_prefill/plain");
}
const Implementation& cpu() {
  return named("attention_prefill/cpu");
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(op(), given)->shape;
}

alignas(16) float memory[8];

AttentionPrefillParams params_with(int batch, std::int64_t tokens) {
  AttentionPrefillParams params{};
  params.q.data = params.k.data = params.v.data = memory;
  params.out.data = memory;
  params.cu_seqlens_q = params.cu_seqlens_kv = reinterpret_cast<const int*>(memory);
  params.total_q = params.total_kv = tokens;
  params.batch = batch;
  return params;
}

TEST(AttentionPrefillPlan, TheGridDependsOnWhatTheHostKnowsAlone) {
  const auto grid_of = [](int batch, std::int64_t tokens, std::vector<NameValue> given = {}) {
    AttentionPrefillParams params = params_with(batch, tokens);
    // A plan that reads them crashes.
    params.cu_seqlens_q = params.cu_seqlens_kv = reinterpret_cast<const int*>(8);
    const LaunchPlan plan = gpu().plan(shape_with(std::move(given)), &params);
    EXPECT_EQ(plan.size(), 1U);
    EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
    return plan[0].dims.grid;
  };
  EXPECT_EQ(grid_of(1, 1024), (Dim3{17, 32, 1}));
  EXPECT_EQ(grid_of(5, 100), (Dim3{6, 32, 1}));
  EXPECT_EQ(grid_of(1, 1024, {{"D_qk", "192"}}), (Dim3{33, 32, 1}));
}

TEST(AttentionPrefillPlan, ACpuItemHasAllHeadsOfAGroupThatFit) {
  EXPECT_EQ(attention_prefill_cpu_heads(4), 4);
  EXPECT_EQ(attention_prefill_cpu_queries(4), 32);
  EXPECT_EQ(attention_prefill_cpu_heads(256), 128);
  EXPECT_EQ(attention_prefill_cpu_heads(129), 43);
  EXPECT_EQ(attention_prefill_cpu_heads(131), 1);  // a prime
  const AttentionPrefillParams params = params_with(2, 100);
  EXPECT_EQ(cpu().plan(shape_with(), &params)[0].dims.grid, (Dim3{8, 100 / 32 + 2, 1}));
}

TEST(AttentionPrefillPlan, NoQueriesOrSequencesLaunchNothing) {
  for (const AttentionPrefillParams& params : {params_with(0, 5), params_with(5, 0)}) {
    EXPECT_TRUE(gpu().plan(shape_with(), &params).empty());
    EXPECT_TRUE(cpu().plan(shape_with(), &params).empty());
  }
}

TEST(AttentionPrefillBuild, HeadSizesAreAnyUpTo256) {
  const Arch arch = *Arch::parse("sm_80");
  for (const char* size : {"1", "8", "72", "100", "192", "256"}) {
    EXPECT_TRUE(can_build(gpu(), shape_with({{"D_qk", size}}), arch)) << size;
  }
  EXPECT_EQ(can_build(gpu(), shape_with({{"D_vo", "257"}}), arch).reason(),
            "D_vo=257: it builds head sizes up to 256");
  EXPECT_EQ(can_build(gpu(), shape_with({{"Hkv", "5"}}), arch).reason(),
            "Hq=32 is not a multiple of Hkv=5: each key/value head serves as many query heads");
}

TEST(AttentionPrefillServe, NullTensorsAndSizesAreNamed) {
  AttentionPrefillParams params = params_with(1, 4);
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
  params.v.data = nullptr;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), "v is null");
  params.total_kv = 0;  // no keys: nothing to read
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params.total_q = (std::int64_t{1} << 30) + 1;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(),
            "total_q is 1073741825; from 0 to 1073741824 are served");
}

// What the tensor cores' kernel leaves to the plain one, and why.
TEST(AttentionPrefillServe, ThePlainKernelServesWhatTheTensorCoresDoNot) {
  const Arch arch = *Arch::parse("sm_80");
  EXPECT_TRUE(can_build(mma(), shape_with({{"D_qk", "72"}, {"D_vo", "256"}}), arch));
  EXPECT_EQ(can_build(mma(), shape_with({{"D_qk", "100"}}), arch).reason(),
            "D_qk=100: it copies 8 elements at a time and multiplies 16");
  EXPECT_FALSE(can_build(mma(), shape_with(), *Arch::parse("gfx942")));
  EXPECT_TRUE(can_build(gpu(), shape_with(), *Arch::parse("gfx942")));
  EXPECT_EQ(can_build(mma(), shape_with(), *Arch::parse("sm_75")).reason(),
            "sm_75 is older than sm_80");
  AttentionPrefillParams params = params_with(1, 4);
  EXPECT_TRUE(mma().can_serve(shape_with(), &params));
  params.k.token_stride = 1028;
  EXPECT_EQ(mma().can_serve(shape_with(), &params).reason(),
            "rows of k do not begin at multiples of 16 bytes");
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
}

}  // namespace
}  // namespace kiln
