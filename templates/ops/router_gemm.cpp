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

bool is_gated(const Shape& shape) {
  return shape.word("gate") != "none";
}

Answer can_build_gate(const Shape& shape) {
  const std::int64_t experts = shape.integer("N");
  const std::int64_t groups = shape.integer("n_group");
  if (!is_gated(shape)) {
    if (groups == 1 && shape.word("correction") == "none") return Answer::yes();
    return Answer::no("n_group and correction belong to a gate, and the shape has gate=none");
  }
  if (experts > kRouterGateExpertsMax) {
    return Answer::no(
        fmt::format("a gate of {} experts; at most {}", experts, kRouterGateExpertsMax));
  }
  if (groups > 1 && (experts % groups != 0 || experts / groups < 2)) {
    return Answer::no(
        fmt::format("{} experts are not {} equal groups of two or more", experts, groups));
  }
  return Answer::yes();
}

Answer can_build_gpu(const Shape& shape, const Arch& arch) {
  if (arch.family() == ArchFamily::nvidia && arch.sm() < 80) {
    return Answer::no(fmt::format("{} is older than sm_80", arch.name()));
  }
  return can_build_gate(shape);
}

Answer can_build_cpu(const Shape& shape, const Arch&) {
  return can_build_gate(shape);
}

// What a call reads of its shape.
struct RouterShape {
  explicit RouterShape(const Shape& shape)
      : experts(shape.integer("N")),
        hidden(shape.integer("K")),
        groups(shape.integer("n_group")),
        gated(is_gated(shape)),
        has_correction(shape.word("correction") != "none"),
        bias(shape.word("bias")) {}

  std::int64_t experts, hidden, groups;
  bool gated, has_correction;
  std::string bias;  // its type
};

Answer can_serve_gate(const RouterShape& shape, const RouterGateParams& gate) {
  const std::int64_t groups = shape.groups;
  const std::int64_t kept = groups == 1 ? 1 : gate.topk_group;
  if (kept < 1 || kept > groups) {
    return Answer::no(fmt::format("topk_group is {} of {} groups", kept, groups));
  }
  const std::int64_t among = shape.experts / groups * kept;
  if (gate.topk < 1 || gate.topk > kRouterGateTopkMax || gate.topk > among) {
    return Answer::no(
        fmt::format("topk is {}; 1 to {} of {} experts", gate.topk, kRouterGateTopkMax, among));
  }
  if (gate.shared_experts < 0) {
    return Answer::no(fmt::format("shared_experts is {}", gate.shared_experts));
  }
  if (!gate.weights) return Answer::no("the gate's weights are null");
  if (!gate.ids) return Answer::no("the gate's ids are null");
  if (!gate.correction && shape.has_correction) {
    return Answer::no("correction is null, and the shape has one");
  }
  return Answer::yes();
}

Answer can_serve_common(const RouterShape& shape, const RouterGemmParams& p) {
  if (p.tokens < 0) return Answer::no(fmt::format("tokens is {}", p.tokens));
  if (p.tokens == 0) return Answer::yes();  // empty tensors may have no data
  if (!p.a) return Answer::no("a is null");
  if (!p.w) return Answer::no("w is null");
  if (!p.out) return Answer::no("out is null");
  if (!p.bias && shape.bias != "none") {
    return Answer::no(fmt::format("bias is null, and the shape has bias={}", shape.bias));
  }
  return shape.gated ? can_serve_gate(shape, p.gate) : Answer::yes();
}

std::int64_t tiles_of(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

LaunchStep block_step(std::uint32_t entry, std::int64_t blocks, std::uint32_t threads) {
  LaunchStep step;
  step.entry = entry;
  step.dims.grid.x = static_cast<std::uint32_t>(blocks);
  step.dims.block.x = threads;
  step.dims.programmatic_dependent_launch = true;
  return step;
}

// Appends the launch that chooses, of entry point number `entry`.
void add_gate_step(LaunchPlan& plan, std::uint32_t entry, std::int64_t tokens) {
  plan.push_back(block_step(entry, tiles_of(tokens, kRouterGateTokensPerBlock), 128));
}

// The entry points of the GPU source, in the order of its name expressions.
enum class GpuEntry : std::uint32_t { one_token, few_tokens, many_tokens, gate };

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

Answer can_serve_gpu(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (Answer common = can_serve_common(shape, p); !common) return common;
  constexpr std::int64_t kBlocksMax = std::numeric_limits<std::int32_t>::max();
  const std::int64_t blocks = gpu_launch(shape.experts, p.tokens).blocks;
  if (blocks > kBlocksMax) {
    return Answer::no(
        fmt::format("{} tokens need {} blocks; a grid has up to {}", p.tokens, blocks, kBlocksMax));
  }
  return Answer::yes();
}

Answer can_serve_cpu(const RouterShape& shape, const void* params) {
  return can_serve_common(shape, params_of(params));
}

// Whether rows begin at multiples of 16 bytes.
Answer has_aligned_rows(const RouterGemmParams& p) {
  const auto aligned = [](const void* first, std::int64_t stride) {
    return reinterpret_cast<std::uintptr_t>(first) % 16 == 0 && stride % 8 == 0;
  };
  if (aligned(p.a, p.a_row_stride) && aligned(p.w, p.w_row_stride)) return Answer::yes();
  return Answer::quick_no("rows of a and w do not all begin at multiples of 16 bytes");
}

Answer can_build_packs(const Shape& shape, const Arch& arch) {
  if (shape.integer("K") % 8 != 0) return Answer::no("K is no multiple of 8");
  return can_build_gpu(shape, arch);
}

Answer can_serve_few(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens > kRouterGemmFewTokensMax) {
    return Answer::quick_no("{} tokens; at most {}", p.tokens, kRouterGemmFewTokensMax);
  }
  if (Answer common = can_serve_common(shape, p); !common) return common;
  return has_aligned_rows(p);
}

// From 5 tokens on a matrix instruction is full enough, where its launch fills the chip: there K is
// shared out over blocks, which takes a workspace.
Answer is_best_few(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens <= 4 ||
      router_gemm_splits(shape.experts, shape.hidden, p.tokens, p.workspace_floats) == 1) {
    return Answer::yes();
  }
  return Answer::quick_no("with {} tokens, matrix instructions over more blocks are faster",
                          p.tokens);
}

// The entry points of few_tokens and matrix_tiles, in the order of their name expressions.
enum class FewEntry : std::uint32_t { one, four, eight, gate };
enum class MatrixEntry : std::uint32_t { few, some, many, gate };

LaunchPlan plan_few(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const FewEntry entry = p.tokens == 1   ? FewEntry::one
                         : p.tokens <= 4 ? FewEntry::four
                                         : FewEntry::eight;
  LaunchPlan plan{block_step(static_cast<std::uint32_t>(entry), shape.experts, 128)};
  if (shape.gated && !router_gemm_fuses_gate(p.tokens, p.workspace_floats)) {
    add_gate_step(plan, static_cast<std::uint32_t>(FewEntry::gate), p.tokens);
  }
  return plan;
}

// Matrix instructions of the dialect: bf16 and f16 on NVIDIA, bf16 on AMD's data centre chips.
Answer can_build_matrix(const Shape& shape, const Arch& arch) {
  const bool wide = arch.family() == ArchFamily::simt && arch.has_feature(":warp64");
  if (arch.family() == ArchFamily::amd || wide) {
    const std::string_view base = arch.base();
    if (!wide && base != "gfx90a" && base != "gfx942" && base != "gfx950") {
      return Answer::no(fmt::format("{} has no MFMA that the dialect knows", arch.name()));
    }
    if (shape.word("io") != "bf16") return Answer::no("its MFMA multiplies bf16");
  }
  return can_build_packs(shape, arch);
}

RouterGemmTile matrix_tile(std::int64_t tokens) {
  return tokens < kRouterGemmMatrixManyFrom ? router_gemm_split_tile(tokens)
                                            : kRouterGemmMatrixMany;
}

std::int64_t matrix_tiles(const RouterShape& shape, const RouterGemmParams& p) {
  const RouterGemmTile tile = matrix_tile(p.tokens);
  return tiles_of(shape.experts, tile.experts) * tiles_of(p.tokens, tile.tokens);
}

Answer can_serve_matrix(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (Answer common = can_serve_common(shape, p); !common) return common;
  if (Answer aligned = has_aligned_rows(p); !aligned) return aligned;
  if (matrix_tiles(shape, p) > std::numeric_limits<std::int32_t>::max()) {
    return Answer::no(fmt::format("{} tokens need more blocks than a grid has", p.tokens));
  }
  return Answer::yes();
}

LaunchPlan plan_matrix(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const MatrixEntry entry = p.tokens <= kRouterGemmMatrixFew.tokens ? MatrixEntry::few
                            : p.tokens < kRouterGemmMatrixManyFrom  ? MatrixEntry::some
                                                                    : MatrixEntry::many;
  LaunchStep step = block_step(static_cast<std::uint32_t>(entry), matrix_tiles(shape, p), 256);
  if (entry != MatrixEntry::many) {
    step.dims.grid.y = static_cast<std::uint32_t>(
        router_gemm_splits(shape.experts, shape.hidden, p.tokens, p.workspace_floats));
  }
  LaunchPlan plan{step};
  if (shape.gated && !router_gemm_fuses_gate(p.tokens, p.workspace_floats)) {
    add_gate_step(plan, static_cast<std::uint32_t>(MatrixEntry::gate), p.tokens);
  }
  return plan;
}

LaunchPlan plan_gpu(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const GpuLaunch launch = gpu_launch(shape.experts, p.tokens);
  LaunchPlan plan{block_step(static_cast<std::uint32_t>(launch.entry), launch.blocks, 128)};
  if (shape.gated) add_gate_step(plan, static_cast<std::uint32_t>(GpuEntry::gate), p.tokens);
  return plan;
}

// The entry points of the native CPU.
enum class CpuEntry : std::uint32_t { few, many, gate };

LaunchPlan plan_cpu(const RouterShape& shape, const void* params) {
  const RouterGemmParams& p = params_of(params);
  if (p.tokens == 0) return {};
  const bool few = p.tokens <= kRouterGemmCpuFew.tokens;
  const RouterGemmTile tile = few ? kRouterGemmCpuFew : kRouterGemmCpuItem;
  LaunchStep step;
  step.entry = static_cast<std::uint32_t>(few ? CpuEntry::few : CpuEntry::many);
  step.dims.grid.x = static_cast<std::uint32_t>(tiles_of(shape.experts, tile.experts));
  step.dims.grid.y = static_cast<std::uint32_t>(tiles_of(p.tokens, tile.tokens));
  LaunchPlan plan{step};
  if (!shape.gated) return plan;
  LaunchStep gate;
  gate.entry = static_cast<std::uint32_t>(CpuEntry::gate);
  gate.dims.grid.x = static_cast<std::uint32_t>(p.tokens);
  plan.push_back(gate);
  return plan;
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
      word("gate", "scores that experts are chosen by; none: logits alone",
           {"none", "sigmoid", "softmax"}),
      word("correction", "type of what is added to a score for the choice alone",
           {"none", "bf16", "f16", "f32"}),
      integer("n_group", "groups that experts are chosen in two steps by", 1, kRouterGateGroupsMax),
  };
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t min,
                          std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), min, max, {}};
  };
  const auto flag = [](const char* name, const char* doc) {
    return ParamSpec{name, doc, ShapeValue(true), 0, 0, {}};
  };
  return {integer("M", "tokens", 64, 0, 1 << 20),
          integer("topk", "experts chosen per token", 8, 1, kRouterGateTopkMax),
          integer("topk_group", "groups that they are chosen from", 1, 1, kRouterGateGroupsMax),
          integer("shared_experts", "columns of ids and weights after the chosen ones", 0, 0, 16),
          flag("renormalize", "whether the weights of a token are divided by their sum"),
          flag("workspace", "whether the call has one: then fewer launches may do")};
}

}  // namespace

Op router_gemm_op() {
  return Op{
      .name = "router_gemm",
      .doc =
          "logits of a mixture-of-experts router, summed in fp32, and the experts chosen by them",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(RouterGemmParams),
      .implementations =
          {
              Implementation{
                  .name = "router_gemm/few_tokens",
                  .doc = "GPU, up to 8 tokens in aligned rows: a block per expert, weights asked "
                         "for before the tokens are there",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_packs,
                  .can_serve = can_serve_few,
                  .is_best = is_best_few,
                  .plan = plan_few,
                  .source = "router_gemm/few_tokens.cu",
                  .name_expressions = {"kiln::router_gemm_1_token", "kiln::router_gemm_4_tokens",
                                       "kiln::router_gemm_8_tokens", "kiln::router_gate"},
              },
              Implementation{
                  .name = "router_gemm/matrix_tiles",
                  .doc = "GPU, aligned rows: matrix instructions; warps and, with a workspace, "
                         "blocks share out K",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_matrix,
                  .can_serve = can_serve_matrix,
                  .plan = plan_matrix,
                  .source = "router_gemm/matrix_tiles.cu",
                  .name_expressions = {"kiln::router_gemm_matrix_few",
                                       "kiln::router_gemm_matrix_some",
                                       "kiln::router_gemm_matrix_many", "kiln::router_gate"},
              },
              Implementation{
                  .name = "router_gemm/dot_tiles",
                  .doc = "GPU, any rows: dot products; a block per expert for few tokens, a warp "
                         "per tile of outputs for many",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve_gpu,
                  .plan = plan_gpu,
                  .source = "router_gemm/dot_tiles.cu",
                  .name_expressions = {"kiln::router_gemm_one_token",
                                       "kiln::router_gemm_few_tokens",
                                       "kiln::router_gemm_many_tokens", "kiln::router_gate"},
              },
              Implementation{
                  .name = "router_gemm/cpu",
                  .doc =
                      "native CPU: rows of W as they come for up to 4 tokens; beyond that, tokens "
                      "widened once",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve_cpu,
                  .plan = plan_cpu,
                  .source = "router_gemm/cpu.cc",
                  .name_expressions = {"kiln::router_gemm_cpu_few", "kiln::router_gemm_cpu_many",
                                       "kiln::router_gate_cpu"},
              },
          },
  };
}

}  // namespace kiln
