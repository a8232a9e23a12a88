// SPDX-License-Identifier: Apache-2.0
// kda_decode's host side: what is served, and with which launches.
#include <gtest/gtest.h>

#include "templates/kernels/kda_decode/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& kda() {
  return **find_op("kda_decode");
}
const Implementation& gpu() {
  return kda().implementations[0];
}
const Implementation& cpu() {
  return kda().implementations[1];
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(kda(), given)->shape;
}

alignas(16) float memory[8];

KdaDecodeParams params_with(int batch) {
  KdaDecodeParams params{};
  params.q.data = params.k.data = params.v.data = params.a.data = memory;
  params.b = params.slots = memory;
  params.a_log = memory;
  params.state = params.out = memory;
  params.pool = batch;
  params.slot_bytes = 4;
  params.batch = batch;
  return params;
}

TEST(KdaDecodePlan, AGpuGridFillsTheChipAndSharesOutV) {
  const auto grid_of = [](int batch, std::vector<NameValue> given = {}) {
    const KdaDecodeParams params = params_with(batch);
    const LaunchPlan plan = gpu().plan(shape_with(std::move(given)), &params);
    EXPECT_EQ(plan.size(), 1U);
    EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
    EXPECT_EQ(plan[0].dims.shared_bytes_dynamic, 0U);
    EXPECT_TRUE(plan[0].dims.programmatic_dependent_launch);
    return plan[0].dims.grid;
  };
  EXPECT_EQ(grid_of(64), (Dim3{64 * 32, 1, 1}));
  EXPECT_EQ(grid_of(8), (Dim3{8 * 32, 2, 1}));
  EXPECT_EQ(grid_of(1), (Dim3{32, 8, 1}));
  EXPECT_EQ(grid_of(1, {{"H", "1"}, {"HV", "1"}}), (Dim3{1, 8, 1}));
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
}

TEST(KdaDecodePlan, AnEmptyBatchLaunchesNothing) {
  const KdaDecodeParams params = params_with(0);
  EXPECT_TRUE(gpu().plan(shape_with(), &params).empty());
  EXPECT_TRUE(cpu().plan(shape_with(), &params).empty());
}

TEST(KdaDecodeServe, ACompleteCallIsServed) {
  const KdaDecodeParams params = params_with(2);
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
}

TEST(KdaDecodeServe, ANullTensorIsNamed) {
  KdaDecodeParams params = params_with(2);
  params.v.data = nullptr;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), "v is null");
  params.batch = 0;
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
}

TEST(KdaDecodeServe, SlotsHaveFourOrEightBytes) {
  KdaDecodeParams params = params_with(2);
  params.slot_bytes = 2;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(),
            "slot_bytes is 2; slots have 4 or 8 bytes");
}

TEST(KdaDecodeServe, TheGpuNeedsAlignedStateRowsAndTheCpuDoesNot) {
  KdaDecodeParams params = params_with(2);
  params.state_slot_stride = 2;
  EXPECT_NE(gpu().can_serve(shape_with(), &params).reason().find("not 16-byte aligned"),
            std::string::npos);
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params = params_with(2);
  params.state = memory + 1;
  EXPECT_FALSE(gpu().can_serve(shape_with(), &params));
}

}  // namespace
}  // namespace kiln
