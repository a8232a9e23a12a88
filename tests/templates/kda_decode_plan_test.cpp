// SPDX-License-Identifier: Apache-2.0
// kda_decode's host side: what is served, and with which launches.
#include <gtest/gtest.h>

#include <cstdlib>

#include "templates/kernels/kda_decode/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& kda() {
  return **find_op("kda_decode");
}
const Implementation& named(const std::string& name) {
  for (const Implementation& one : kda().implementations) {
    if (one.name == "kda_decode/" + name) return one;
  }
  std::abort();
}
const Implementation& cpu() {
  return named("cpu");
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(kda(), given)->shape;
}

alignas(16) float memory[8];

KdaDecodeParams params_with(int batch) {
  KdaDecodeParams params{};
  for (KdaHeads* heads : {&params.q, &params.k, &params.v, &params.a, &params.b, &params.out}) {
    heads->data = memory;
  }
  params.slots = memory;
  params.a_log = memory;
  params.state.data = memory;
  params.state.slots = batch;
  params.slot_bytes = 4;
  params.slot_columns = 1;
  params.batch = batch;
  params.tokens = 1;
  return params;
}

std::string reason(const char* implementation, const KdaDecodeParams& params,
                   std::vector<NameValue> given = {}) {
  const Answer answer = named(implementation).can_serve(shape_with(std::move(given)), &params);
  return answer ? "" : answer.reason();
}

TEST(KdaDecodePlan, FewStatesShareOutVOverTheChip) {
  const auto grid_of = [](int batch, std::vector<NameValue> given = {}) {
    const KdaDecodeParams params = params_with(batch);
    const LaunchPlan plan = named("small_batch").plan(shape_with(std::move(given)), &params);
    EXPECT_EQ(plan.size(), 1U);
    EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
    EXPECT_EQ(plan[0].dims.shared_bytes_dynamic, 0U);
    EXPECT_TRUE(plan[0].dims.programmatic_dependent_launch);
    EXPECT_FALSE(plan[0].dims.fill_device);
    return plan[0].dims.grid;
  };
  EXPECT_EQ(grid_of(64), (Dim3{64 * 32, 1, 1}));
  EXPECT_EQ(grid_of(8), (Dim3{8 * 32, 2, 1}));
  EXPECT_EQ(grid_of(1), (Dim3{32, 8, 1}));
  EXPECT_EQ(grid_of(1, {{"H", "1"}, {"HV", "1"}}), (Dim3{1, 8, 1}));
  // Each of a block's four warps keeps a tile: 16 rows here, and two columns of 32 bytes there.
  EXPECT_EQ(grid_of(1, {{"H", "1"}, {"HV", "1"}, {"K", "256"}}), (Dim3{1, 8, 1}));
  EXPECT_EQ(grid_of(1, {{"H", "1"}, {"HV", "1"}, {"layout", "KV"}}), (Dim3{1, 4, 1}));
}

TEST(KdaDecodePlan, ManyStatesFillTheDeviceOnce) {
  const KdaDecodeParams params = params_with(64);
  const LaunchPlan plan = named("large_batch").plan(shape_with(), &params);
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].dims.grid, (Dim3{64 * 32, 1, 1}));
  EXPECT_TRUE(plan[0].dims.fill_device);
}

// By states, not by sequences.
TEST(KdaDecodePlan, StatesDecideBetweenSmallAndLarge) {
  const auto best = [](int batch, const char* heads) {
    const KdaDecodeParams params = params_with(batch);
    const Shape shape = shape_with({{"H", "8"}, {"HV", heads}});
    return static_cast<bool>(named("large_batch").is_best(shape, &params));
  };
  EXPECT_FALSE(best(511, "8"));
  EXPECT_TRUE(best(512, "8"));
  EXPECT_FALSE(best(56, "72"));
  EXPECT_TRUE(best(57, "72"));
}

TEST(KdaDecodePlan, TheCpuGetsOneItemPerStateOrSlicesOfFewStates) {
  const auto items_of = [](int batch, std::vector<NameValue> given = {}) {
    const KdaDecodeParams params = params_with(batch);
    const LaunchPlan plan = cpu().plan(shape_with(std::move(given)), &params);
    EXPECT_EQ(plan.size(), 1U);
    EXPECT_EQ(plan[0].dims.block.count(), 1U);
    return plan[0].dims.grid.count();
  };
  EXPECT_EQ(items_of(64), 64U * 32);
  EXPECT_EQ(items_of(4), 4U * 32);
  EXPECT_EQ(items_of(2), 2U * 32 * 2);
  EXPECT_EQ(items_of(1), 32U * 4);
  EXPECT_EQ(items_of(1, {{"H", "1"}, {"HV", "1"}}), 8U);  // slices of 16 rows, no smaller
  EXPECT_EQ(items_of(1, {{"H", "1"}, {"HV", "1"}, {"layout", "KV"}}), 2U);  // 64 columns
}

TEST(KdaDecodePlan, NothingToDoLaunchesNothing) {
  const KdaDecodeParams params = params_with(0);
  for (const Implementation& one : kda().implementations) {
    EXPECT_TRUE(one.plan(shape_with(), &params).empty()) << one.name;
  }
}

TEST(KdaDecodeServe, ACompleteCallIsServedByAll) {
  const KdaDecodeParams params = params_with(2);
  for (const Implementation& one : kda().implementations) {
    EXPECT_TRUE(one.can_serve(shape_with(), &params)) << one.name;
  }
}

TEST(KdaDecodeServe, ANullTensorIsNamed) {
  KdaDecodeParams params = params_with(2);
  params.v.data = nullptr;
  EXPECT_EQ(reason("cpu", params), "v is null");
  params.batch = 0;
  EXPECT_EQ(reason("cpu", params), "");
  params = params_with(2);
  params.a_log = nullptr;
  EXPECT_EQ(reason("cpu", params), "a_log is null");
  EXPECT_EQ(reason("cpu", params, {{"gate", "precomputed"}}), "");
  params = params_with(2);
  params.intermediate.data = memory;
  EXPECT_EQ(reason("cpu", params), "intermediate_slots is null");
}

TEST(KdaDecodeServe, SlotsHaveFourOrEightBytes) {
  KdaDecodeParams params = params_with(2);
  params.slot_bytes = 2;
  EXPECT_EQ(reason("cpu", params), "slot_bytes is 2; slots have 4 or 8 bytes");
}

// What the fast kernels do not serve, several_tokens and the CPU do.
TEST(KdaDecodeServe, TheFastKernelsWantOneTokenAndAlignedRows) {
  const auto expect = [](const KdaDecodeParams& params, const std::string& why) {
    for (const char* fast : {"small_batch", "large_batch"}) {
      EXPECT_NE(reason(fast, params).find(why), std::string::npos) << reason(fast, params);
    }
    for (const char* any : {"several_tokens", "cpu"}) EXPECT_EQ(reason(any, params), "") << why;
  };
  KdaDecodeParams params = params_with(2);
  params.state.slot_stride = 2;
  expect(params, "a row of the state is not 16-byte aligned");
  params = params_with(2);
  params.state.data = memory + 1;
  expect(params, "a row of the state is not 16-byte aligned");
  params = params_with(2);
  params.k.token_stride = 130;
  expect(params, "rows of k are not all 8-byte aligned");
  params = params_with(2);
  params.dt_bias = memory + 1;
  expect(params, "dt_bias is not 16-byte aligned");
  params = params_with(2);
  params.tokens = 2;
  expect(params, "up to 2 tokens per sequence");
  params = params_with(2);
  params.state_write = kKdaWriteNone;
  expect(params, "the state is not just updated in its slot");
}

}  // namespace
}  // namespace kiln
