// SPDX-License-Identifier: Apache-2.0
// The op router_gemm: the logits of a mixture-of-experts router.
#include <fmt/format.h>

#include <cstdint>
#include <limits>

#include "templates/kernels/router_gemm/params.h"
#include "templates/kernels/router_gemm/tiles.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

const RouterGemmParams& params_of(const void* params) {
  return *static_cast<const RouterGemmParams*>(params);
}

Answer can_build_gpu(const Shape&, const Arch& arch) {
  if (arch.family() == ArchFamily::nvidia && arch.sm() < 80) {
    return Answer::no(fmt::format("{} is older than sm_80", arch.name()));
  }
  return Answer::yes();
}

Answer can_build_cpu(const Shape&, const Arch&) {
  return Answer::yes();
}

Answer can_serve_common(const Shape& shape, const RouterGemmParams& p) {
  if (p.tokens < 0) return Answer::no(fmt::format("tokens is {}", p.tokens));
  if (p.tokens == 0) return Answer::yes();  // empty tensors may have no data
  if (!p.a) return Answer::no("a is null");
  if (!p.w) return Answer::no("w is null");
  if (!p.out) return Answer::no("out is null");
  if (!p.bias && shape.word("bias") != "none") {
    return Answer::no(fmt::format("bias is null, and the shape has bias={}", shape.word("bias")));
  }
  return Answer::yes();
}

std::int64_t tiles_of(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

// The entry points of the GPU source, in the order of its name expressions.
enum class GpuEntry : std::uint32_t { one_token, few_tokens, many_tokens };

struct GpuLaunch {
  GpuEntry entry;
  std::int64_t blocks;
};

GpuLaunch gpu_launch(std::int64_t experts, std::int64_t tokens) {
  const auto tiles = [&](const RouterGemmTile& tile) {
    return tiles_of(experts, tile.experts) * tiles_of(tokens, tile.tokens);
  };
  if (tokens == 1) return {GpuEntry::one_token, tiles(kRouterGemmOneToken)};
  // Two warps for each quarter of a large chip's multiprocessors; below that, chip-wide tiles
  // leave most of it idle.
  constexpr std::int64_t kManyTilesMin = 1024;
  const std::int64_t many = tiles(kRouterGemmManyTokens);
  if (many < kManyTilesMin) return {GpuEntry::few_tokens, tiles(kRouterGemmFewTokens)};
  return {GpuEntry::many_tokens, tiles_of(many, kRouterGemmManyTilesPerBlock)};
}

Answer can_serve_gpu(const Shape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (Answer common = can_serve_common(shape, p); !common) return common;
  constexpr std::int64_t kBlocksMax = std::numeric_limits<std::int32_t>::max();
  const std::int64_t blocks = gpu_launch(shape.integer("N"), p.tokens).blocks;
  if (blocks > kBlocksMax) {
    return Answer::no(
        fmt::format("{} tokens need {} blocks; a grid has up to {}", p.tokens, blocks, kBlocksMax));
  }
  return Answer::yes();
}

Answer can_serve_cpu(const Shape& shape, const void* params) {
  return can_serve_common(shape, params_of(params));
}

LaunchPlan plan_gpu(const Shape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const GpuLaunch launch = gpu_launch(shape.integer("N"), p.tokens);
  LaunchStep step;
  step.entry = static_cast<std::uint32_t>(launch.entry);
  step.dims.grid.x = static_cast<std::uint32_t>(launch.blocks);
  step.dims.block.x = 128;
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_cpu(const Shape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const auto tiles = [](std::int64_t size, int tile) {
    return static_cast<std::uint32_t>(tiles_of(size, tile));
  };
  LaunchStep step;
  step.dims.grid = {tiles(shape.integer("N"), kRouterGemmCpuItem.experts),
                    tiles(p.tokens, kRouterGemmCpuItem.tokens), 1};
  return {step};
}

// Defaults: Kimi-Linear-48B-A3B.
std::vector<ParamSpec> shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), 1, max, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      integer("N", "experts", 256, 1 << 16),
      integer("K", "elements of a token, the hidden size", 2304, 1 << 20),
      word("io", "type of the tokens and the weights", {"bf16", "f16"}),
      word("out", "type of the logits", {"f32", "bf16", "f16"}),
      word("bias", "type of what is added per expert", {"none", "bf16", "f16", "f32"}),
  };
}

std::vector<ParamSpec> call_params() {
  return {ParamSpec{"M", "tokens", ShapeValue(std::int64_t{64}), 0, 1 << 20, {}}};
}

}  // namespace

Op router_gemm_op() {
  return Op{
      .name = "router_gemm",
      .doc = "logits of a mixture-of-experts router: tokens times weights, summed in fp32",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(RouterGemmParams),
      .implementations =
          {
              Implementation{
                  .name = "router_gemm/dot_tiles",
                  .doc = "GPU: dot products; a block per expert for few tokens, a warp per tile of "
                         "outputs for many",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve_gpu,
                  .plan = plan_gpu,
                  .source = "router_gemm/dot_tiles.cu",
                  .name_expressions = {"kiln::router_gemm_one_token",
                                       "kiln::router_gemm_few_tokens",
                                       "kiln::router_gemm_many_tokens"},
              },
              Implementation{
                  .name = "router_gemm/cpu",
                  .doc = "native CPU: four experts at a time, sums in registers",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve_cpu,
                  .plan = plan_cpu,
                  .source = "router_gemm/cpu.cc",
                  .name_expressions = {"kiln::router_gemm_cpu"},
              },
          },
  };
}

}  // namespace kiln
