// SPDX-License-Identifier: Apache-2.0
// qk_rmsnorm's host side: what is served, and with which launches.
#include <gtest/gtest.h>

#include "templates/kernels/qk_rmsnorm/gpu_groups.h"
#include "templates/kernels/qk_rmsnorm/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& op() {
  return **find_op("qk_rmsnorm");
}
const Implementation& gpu() {
  return op().implementations[0];
}
const Implementation& cpu() {
  return op().implementations[1];
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(op(), given)->shape;
}

QkRmsnormParams params_with(int rows, int q_heads = 1, int k_heads = 1) {
  static float memory[4];
  QkRmsnormParams params{};
  params.q.in = params.k.in = params.q.weight = params.k.weight = memory;
  params.q.out = params.k.out = memory;
  params.q.heads = q_heads;
  params.k.heads = k_heads;
  params.rows = rows;
  return params;
}

TEST(QkRmsnormPlan, AThreadHoldsOnePackUntilTheBlockIsFull) {
  EXPECT_EQ(qk_rmsnorm_group(1), 1);
  EXPECT_EQ(qk_rmsnorm_group(8), 1);
  EXPECT_EQ(qk_rmsnorm_group(9), 2);
  EXPECT_EQ(qk_rmsnorm_group(128), 16);
  EXPECT_EQ(qk_rmsnorm_group(512), 64);
  EXPECT_EQ(qk_rmsnorm_group(1536), 256);
  EXPECT_EQ(qk_rmsnorm_group(8192), 256);
}

TEST(QkRmsnormPlan, TheGridHoldsTheBlocksOfBothSides) {
  const auto blocks = [](const QkRmsnormParams& params, std::vector<NameValue> given = {}) {
    const LaunchPlan plan = gpu().plan(shape_with(std::move(given)), &params);
    EXPECT_EQ(plan.size(), 1U);
    EXPECT_EQ(plan[0].dims.block, (Dim3{256, 1, 1}));
    EXPECT_TRUE(plan[0].dims.programmatic_dependent_launch);
    return plan[0].dims.grid.count();
  };
  EXPECT_EQ(blocks(params_with(1)), 1U + 1);
  EXPECT_EQ(blocks(params_with(4)), 4U + 1);  // four vectors of 512 to a block
  EXPECT_EQ(blocks(params_with(5)), 5U + 2);
  EXPECT_EQ(blocks(params_with(3, 32, 8), {{"Nq", "128"}, {"Nk", "128"}}), 6U + 2);
  EXPECT_EQ(blocks(params_with(3, 0, 1)), 1U);
}

TEST(QkRmsnormPlan, AnItemOfTheCpuIsWorthHandingOut) {
  const auto items = [](const QkRmsnormParams& params) {
    return cpu().plan(shape_with(), &params)[0].dims.grid.count();
  };
  EXPECT_EQ(items(params_with(1)), 1U);
  EXPECT_EQ(items(params_with(8)), 1U);  // of 2,048 elements each
  EXPECT_EQ(items(params_with(9)), 2U);
  EXPECT_EQ(items(params_with(3, 16, 16)), 3U);
}

TEST(QkRmsnormPlan, NothingToDoLaunchesNothing) {
  for (const QkRmsnormParams& params : {params_with(0), params_with(4, 0, 0)}) {
    EXPECT_TRUE(gpu().plan(shape_with(), &params).empty());
    EXPECT_TRUE(cpu().plan(shape_with(), &params).empty());
  }
}

TEST(QkRmsnormServe, ANullTensorIsNamedUnlessItsSideIsEmpty) {
  QkRmsnormParams params = params_with(2);
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  params.k.out = nullptr;
  EXPECT_EQ(cpu().can_serve(shape_with(), &params).reason(), "k_out is null");
  EXPECT_EQ(gpu().can_serve(shape_with(), &params).reason(), "k_out is null");
  params.k.heads = 0;
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
}

TEST(QkRmsnormServe, MoreBlocksThanAGridHasAreRefused) {
  const QkRmsnormParams params = params_with(1 << 30, 4, 0);
  EXPECT_NE(gpu().can_serve(shape_with(), &params).reason().find("4294967296 blocks"),
            std::string::npos);
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
}

TEST(QkRmsnormBuild, RotationsAndScalesHaveTheirLimits) {
  const auto why_not = [](std::vector<NameValue> given) {
    const Op& op = **find_op("qk_rmsnorm");
    const Shape shape = parse_arguments(op, given)->shape;
    return op.implementations[0].can_build(shape, *Arch::parse("sm_90a")).reason();
  };
  EXPECT_EQ(why_not({{"rope", "neox"}, {"rotary", "512"}}), "");
  EXPECT_EQ(why_not({{"rope", "neox"}, {"rotary", "514"}}),
            "rotary=514: a rope takes an even number from 2 to 512, the smaller vector");
  EXPECT_NE(why_not({{"rope", "neox"}}), "");
  EXPECT_NE(why_not({{"rotary", "64"}}), "");
  EXPECT_EQ(why_not({{"q_group", "1536"}}), "");
  EXPECT_EQ(why_not({{"q_group", "128"}}), "");
  EXPECT_NE(why_not({{"q_group", "96"}}), "");
  EXPECT_NE(why_not({{"Nq", "1528"}, {"q_group", "16"}}), "");
}

}  // namespace
}  // namespace kiln
