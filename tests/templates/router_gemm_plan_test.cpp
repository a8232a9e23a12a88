// SPDX-License-Identifier: Apache-2.0
// router_gemm's host side: what is served, and with which launches.
#include <gtest/gtest.h>

#include "templates/kernels/router_gemm/params.h"
#include "templates/registry.h"

namespace kiln {
namespace {

using namespace std::string_literals;

const Op& op() {
  return **find_op("router_gemm");
}
const Implementation& few() {
  return op().implementations[0];
}
const Implementation& matrix() {
  return op().implementations[1];
}
const Implementation& gpu() {  // the one for any rows
  return op().implementations[2];
}
const Implementation& cpu() {
  return op().implementations[3];
}
Shape shape_with(std::vector<NameValue> given = {}) {
  return parse_arguments(op(), given)->shape;
}

RouterGemmParams params_with(int tokens) {
  alignas(16) static float memory[4];
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

TEST(RouterGemmPlan, UpTo8TokensInAlignedRowsGetABlockPerExpert) {
  for (const auto& [tokens, entry] :
       {std::pair{1, "1_token"}, {2, "4_tokens"}, {4, "4_tokens"}, {5, "8_tokens"}}) {
    const RouterGemmParams params = params_with(tokens);
    ASSERT_TRUE(few().can_serve(shape_with(), &params));
    const LaunchPlan plan = few().plan(shape_with(), &params);
    ASSERT_EQ(plan.size(), 1U);
    EXPECT_EQ(few().name_expressions.at(plan[0].entry), "kiln::router_gemm_"s + entry);
    EXPECT_EQ(plan[0].dims.grid, (Dim3{256, 1, 1}));
  }
  RouterGemmParams params = params_with(9);
  EXPECT_EQ(few().can_serve(shape_with(), &params).reason(), "9 tokens; at most 8");
  params = params_with(2);
  params.a_row_stride = 4;
  EXPECT_FALSE(few().can_serve(shape_with(), &params));
  EXPECT_FALSE(matrix().can_serve(shape_with(), &params));
  EXPECT_TRUE(gpu().can_serve(shape_with(), &params));
  EXPECT_FALSE(few().can_build(shape_with({{"K", "12"}}), *Arch::parse("sm_90a")));
}

struct MatrixLaunch {
  std::string entry;
  Dim3 grid;
  std::size_t launches;
  friend bool operator==(const MatrixLaunch&, const MatrixLaunch&) = default;
};

MatrixLaunch matrix_launch(int tokens, std::int64_t workspace_floats) {
  static int ids[1];
  static float floats[1];
  RouterGemmParams params = params_with(tokens);
  params.gate.ids = ids;
  params.gate.weights = params.workspace = floats;
  params.gate.topk = 8;
  params.workspace_floats = workspace_floats;
  const Shape shape = shape_with({{"gate", "softmax"}, {"K", "7168"}});
  const LaunchPlan plan = matrix().plan(shape, &params);
  return {matrix().name_expressions.at(plan[0].entry), plan[0].dims.grid, plan.size()};
}

// Of 256 experts: 16 tiles.
TEST(RouterGemmPlan, BlocksShareOutKAsFarAsTheWorkspaceGoes) {
  const std::string few = "kiln::router_gemm_matrix_few", some = "kiln::router_gemm_matrix_some";
  EXPECT_EQ(matrix_launch(16, 0), (MatrixLaunch{few, {16, 1, 1}, 2}));
  EXPECT_EQ(matrix_launch(16, 1023), (MatrixLaunch{few, {16, 1, 1}, 2}));
  EXPECT_EQ(matrix_launch(16, 1024), (MatrixLaunch{few, {16, 1, 1}, 1}));
  EXPECT_EQ(matrix_launch(16, 1024 + 3 * 16 * 256), (MatrixLaunch{few, {16, 3, 1}, 1}));
  EXPECT_EQ(matrix_launch(16, 1 << 30), (MatrixLaunch{few, {16, 8, 1}, 1}));
  EXPECT_EQ(matrix_launch(17, 1 << 30), (MatrixLaunch{some, {16, 8, 1}, 2}));
  EXPECT_EQ(matrix_launch(256, 1 << 30), (MatrixLaunch{some, {64, 2, 1}, 2}));
  EXPECT_EQ(matrix_launch(257, 1 << 30),
            (MatrixLaunch{"kiln::router_gemm_matrix_many", {20, 1, 1}, 2}));
}

TEST(RouterGemmBuild, MatrixTilesNeedInstructionsForTheType) {
  const auto builds = [](const char* arch, const char* io) {
    return static_cast<bool>(can_build(matrix(), shape_with({{"io", io}}), *Arch::parse(arch)));
  };
  for (const char* arch : {"sm_80", "sm_90a", "simt"}) {
    EXPECT_TRUE(builds(arch, "bf16") && builds(arch, "f16")) << arch;
  }
  for (const char* arch : {"gfx90a", "gfx942:sramecc+:xnack-", "gfx950", "simt:warp64:checked"}) {
    EXPECT_TRUE(builds(arch, "bf16") && !builds(arch, "f16")) << arch;
  }
  EXPECT_FALSE(builds("gfx1100", "bf16"));
}

TEST(RouterGemmPlan, TheCpuSharesOutRowsOfWForFewTokensAndTilesForMany) {
  const auto step_of = [](int tokens, std::vector<NameValue> given = {}) {
    const RouterGemmParams params = params_with(tokens);
    const LaunchStep step = cpu().plan(shape_with(std::move(given)), &params)[0];
    return std::pair(cpu().name_expressions.at(step.entry), step.dims.grid);
  };
  EXPECT_EQ(step_of(1), std::pair("kiln::router_gemm_cpu_few"s, Dim3{64, 1, 1}));
  EXPECT_EQ(step_of(4, {{"N", "5"}}), std::pair("kiln::router_gemm_cpu_few"s, Dim3{2, 1, 1}));
  EXPECT_EQ(step_of(5), std::pair("kiln::router_gemm_cpu_many"s, Dim3{8, 1, 1}));
  EXPECT_EQ(step_of(65, {{"N", "33"}}), std::pair("kiln::router_gemm_cpu_many"s, Dim3{2, 2, 1}));
}

TEST(RouterGemmPlan, AGateIsASecondLaunchOverTheTokens) {
  RouterGemmParams params = params_with(9);
  static int ids[1];
  static float weights[1];
  params.gate.ids = ids;
  params.gate.weights = weights;
  params.gate.topk = 8;
  const Shape shape = shape_with({{"gate", "softmax"}});
  ASSERT_TRUE(gpu().can_serve(shape, &params));
  const LaunchPlan on_gpu = gpu().plan(shape, &params);
  ASSERT_EQ(on_gpu.size(), 2U);
  EXPECT_EQ(gpu().name_expressions.at(on_gpu[1].entry), "kiln::router_gate");
  EXPECT_EQ(on_gpu[1].dims.grid.x, 3U);
  const LaunchPlan on_cpu = cpu().plan(shape, &params);
  ASSERT_EQ(on_cpu.size(), 2U);
  EXPECT_EQ(cpu().name_expressions.at(on_cpu[1].entry), "kiln::router_gate_cpu");
  EXPECT_EQ(on_cpu[1].dims.grid.x, 9U);
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

TEST(RouterGemmServe, WhatAGateLacksIsNamed) {
  RouterGemmParams params = params_with(2);
  static int ids[1];
  static float weights[1];
  const Shape shape = shape_with({{"gate", "sigmoid"}, {"correction", "f32"}, {"n_group", "8"}});
  const auto why_not = [&] { return cpu().can_serve(shape, &params).reason(); };
  EXPECT_EQ(why_not(), "topk_group is 0 of 8 groups");
  params.gate.topk_group = 1;
  EXPECT_EQ(why_not(), "topk is 0; 1 to 32 of 32 experts");
  params.gate.topk = 8;
  EXPECT_EQ(why_not(), "the gate's weights are null");
  params.gate.weights = weights;
  EXPECT_EQ(why_not(), "the gate's ids are null");
  params.gate.ids = ids;
  EXPECT_EQ(why_not(), "correction is null, and the shape has one");
  params.gate.correction = weights;
  EXPECT_TRUE(cpu().can_serve(shape, &params));
}

TEST(RouterGemmBuild, AGateHasItsLimits) {
  const auto why_not = [](std::vector<NameValue> given) {
    const Arch arch = *Arch::parse("sm_90a");
    const Answer answer = gpu().can_build(shape_with(std::move(given)), arch);
    return answer ? std::string() : std::string(answer.reason());
  };
  EXPECT_EQ(why_not({{"N", "65536"}}), "");
  EXPECT_EQ(why_not({{"gate", "softmax"}, {"N", "1025"}}), "a gate of 1025 experts; at most 1024");
  EXPECT_EQ(why_not({{"gate", "softmax"}, {"n_group", "3"}}),
            "256 experts are not 3 equal groups of two or more");
  EXPECT_NE(why_not({{"n_group", "8"}}), "");
}

TEST(RouterGemmServe, MoreBlocksThanAGridHasAreRefused) {
  const RouterGemmParams params = params_with(2'000'000'000);
  const Shape shape = shape_with({{"N", "65536"}});
  EXPECT_NE(gpu().can_serve(shape, &params).reason().find("blocks"), std::string::npos);
  EXPECT_TRUE(cpu().can_serve(shape, &params));
}

}  // namespace
}  // namespace kiln
