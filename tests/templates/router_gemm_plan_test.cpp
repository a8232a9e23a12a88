// SPDX-License-Identifier: Apache-2.0
// router_gemm's host side: what is served, and with which launches.
#include <gtest/gtest.h>

#include "templates/kernels/router_gemm/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

const Op& op() {
  return **find_op("router_gemm");
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

RouterGemmParams params_with(int tokens) {
  static float memory[4];
  RouterGemmParams params{};
  params.a = params.w = memory;
  params.out = memory;
  params.tokens = tokens;
  return params;
}

struct Launch {
  std::string entry;
  std::uint64_t blocks;
  friend bool operator==(const Launch&, const Launch&) = default;
};

Launch gpu_launch(int tokens, std::vector<NameValue> given = {}) {
  const RouterGemmParams params = params_with(tokens);
  const LaunchPlan plan = gpu().plan(shape_with(std::move(given)), &params);
  EXPECT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].dims.block, (Dim3{128, 1, 1}));
  EXPECT_TRUE(plan[0].dims.programmatic_dependent_launch);
  return {gpu().name_expressions.at(plan[0].entry), plan[0].dims.grid.count()};
}

TEST(RouterGemmPlan, FewTokensGetABlockPerExpert) {
  EXPECT_EQ(gpu_launch(1), (Launch{"kiln::router_gemm_one_token", 256}));
  EXPECT_EQ(gpu_launch(2), (Launch{"kiln::router_gemm_few_tokens", 256}));
  EXPECT_EQ(gpu_launch(4), (Launch{"kiln::router_gemm_few_tokens", 256}));
  EXPECT_EQ(gpu_launch(5), (Launch{"kiln::router_gemm_few_tokens", 2 * 256}));
  EXPECT_EQ(gpu_launch(120), (Launch{"kiln::router_gemm_few_tokens", 30 * 256}));
}

TEST(RouterGemmPlan, ManyTokensGetTilesOnceTheyFillTheChip) {
  EXPECT_EQ(gpu_launch(121), (Launch{"kiln::router_gemm_many_tokens", 16 * 64 / 4}));
  EXPECT_EQ(gpu_launch(4096), (Launch{"kiln::router_gemm_many_tokens", 512 * 64 / 4}));
  EXPECT_EQ(gpu_launch(8 * 1025, {{"N", "3"}}), (Launch{"kiln::router_gemm_many_tokens", 257}));
}

TEST(RouterGemmPlan, AnItemOfTheCpuIsFourExpertsAndUpTo32Tokens) {
  const auto grid_of = [](int tokens, std::vector<NameValue> given = {}) {
    const RouterGemmParams params = params_with(tokens);
    return cpu().plan(shape_with(std::move(given)), &params)[0].dims.grid;
  };
  EXPECT_EQ(grid_of(1), (Dim3{64, 1, 1}));
  EXPECT_EQ(grid_of(33), (Dim3{64, 2, 1}));
  EXPECT_EQ(grid_of(1, {{"N", "5"}}), (Dim3{2, 1, 1}));
}

TEST(RouterGemmPlan, NoTokensLaunchNothing) {
  const RouterGemmParams params = params_with(0);
  EXPECT_TRUE(gpu().plan(shape_with(), &params).empty());
  EXPECT_TRUE(cpu().plan(shape_with(), &params).empty());
}

TEST(RouterGemmServe, ANullTensorIsNamed) {
  RouterGemmParams params = params_with(2);
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
  EXPECT_TRUE(cpu().can_serve(shape_with(), &params));
  EXPECT_EQ(cpu().can_serve(shape_with({{"bias", "f32"}}), &params).reason(),
            "bias is null, and the shape has bias=f32");
  params.w = nullptr;
  EXPECT_EQ(gpu().can_serve(shape_with(), &params).reason(), "w is null");
  params.tokens = 0;
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
}

TEST(RouterGemmServe, MoreBlocksThanAGridHasAreRefused) {
  const RouterGemmParams params = params_with(2'000'000'000);
  const Shape shape = shape_with({{"N", "65536"}});
  EXPECT_NE(gpu().can_serve(shape, &params).reason().find("blocks"), std::string::npos);
  EXPECT_TRUE(cpu().can_serve(shape, &params));
}

}  // namespace
}  // namespace kiln
