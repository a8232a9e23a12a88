// SPDX-License-Identifier: Apache-2.0
// The op qk_rmsnorm: the RMS norms of queries and keys in one launch.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "templates/kernels/qk_rmsnorm/cpu_rows.h"
#include "templates/kernels/qk_rmsnorm/gpu_groups.h"
#include "templates/kernels/qk_rmsnorm/params.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

const QkRmsnormParams& params_of(const void* params) {
  return *static_cast<const QkRmsnormParams*>(params);
}

bool is_power_of_two(std::int64_t value) {
  return value > 0 && (value & (value - 1)) == 0;
}

Answer can_build_any(const Shape& shape) {
  const std::int64_t q = shape.integer("Nq"), k = shape.integer("Nk");
  const std::int64_t rotary = shape.integer("rotary"), group = shape.integer("q_group");
  if (shape.word("rope") == "none") {
    if (rotary != 0) return Answer::no("rotary belongs to a rope, and the shape has rope=none");
  } else if (rotary < 2 || rotary % 2 != 0 || rotary > std::min(q, k)) {
    return Answer::no(
        fmt::format("rotary={}: a rope takes an even number from 2 to {}, the smaller vector",
                    rotary, std::min(q, k)));
  }
  if (group == 0 || group == q) return Answer::yes();
  if (is_power_of_two(group) && group >= kQkRmsnormGroupMin && group <= kQkRmsnormGroupMax &&
      q % group == 0) {
    return Answer::yes();
  }
  return Answer::no(
      fmt::format("q_group={}: a scale is that of a vector ({}) or of a power of two "
                  "from {} to {} that divides it",
                  group, q, kQkRmsnormGroupMin, kQkRmsnormGroupMax));
}

Answer can_build_gpu(const Shape& shape, const Arch& arch) {
  if (arch.family() == ArchFamily::nvidia && arch.sm() < 80) {
    return Answer::no(fmt::format("{} is older than sm_80", arch.name()));
  }
  return can_build_any(shape);
}

Answer can_build_cpu(const Shape& shape, const Arch&) {
  return can_build_any(shape);
}

// What a call reads of its shape.
struct NormShape {
  explicit NormShape(const Shape& shape)
      : q(shape.integer("Nq")),
        k(shape.integer("Nk")),
        rotates(shape.word("rope") != "none"),
        quantises(shape.integer("q_group") > 0) {}

  std::int64_t q, k;  // elements of a vector
  bool rotates, quantises;
};

Answer can_serve_side(const char* name, const QkRmsnormParams::Side& side, int rows) {
  if (side.heads < 0) return Answer::no(fmt::format("{} has {} heads", name, side.heads));
  if (rows == 0 || side.heads == 0) return Answer::yes();  // an empty tensor may have no data
  if (!side.in) return Answer::no(fmt::format("{} is null", name));
  if (!side.out) return Answer::no(fmt::format("{}_out is null", name));
  if (!side.weight) return Answer::no(fmt::format("{}_weight is null", name));
  return Answer::yes();
}

Answer can_serve_common(const NormShape& shape, const QkRmsnormParams& p) {
  if (p.rows < 0) return Answer::no(fmt::format("rows is {}", p.rows));
  if (Answer q = can_serve_side("q", p.q, p.rows); !q) return q;
  if (Answer k = can_serve_side("k", p.k, p.rows); !k) return k;
  if (p.rows == 0) return Answer::yes();
  if (shape.rotates && (!p.rope.positions || !p.rope.cos || !p.rope.sin)) {
    return Answer::no("positions, cos or sin is null, and the shape has a rope");
  }
  if (shape.quantises && p.q.heads > 0 && !p.scales.data) {
    return Answer::no("q_scale is null, and the shape has a quantised q");
  }
  return Answer::yes();
}

// Blocks of one side.
std::int64_t gpu_blocks(const QkRmsnormParams& p, const QkRmsnormParams::Side& side,
                        std::int64_t size) {
  const std::int64_t per_block = qk_rmsnorm_vectors_per_block(static_cast<int>(size));
  return (std::int64_t{p.rows} * side.heads + per_block - 1) / per_block;
}

std::int64_t gpu_blocks(const NormShape& shape, const QkRmsnormParams& p) {
  return gpu_blocks(p, p.q, shape.q) + gpu_blocks(p, p.k, shape.k);
}

Answer can_serve_gpu(const NormShape& shape, const void* params) {
  const QkRmsnormParams& p = params_of(params);
  if (Answer common = can_serve_common(shape, p); !common) return common;
  constexpr std::int64_t kBlocksMax = std::numeric_limits<std::int32_t>::max();
  if (const std::int64_t blocks = gpu_blocks(shape, p); blocks > kBlocksMax) {
    return Answer::no(fmt::format("{} rows of {} and {} heads need {} blocks; a grid has up to {}",
                                  p.rows, p.q.heads, p.k.heads, blocks, kBlocksMax));
  }
  return Answer::yes();
}

Answer can_serve_cpu(const NormShape& shape, const void* params) {
  return can_serve_common(shape, params_of(params));
}

LaunchPlan plan_gpu(const NormShape& shape, const void* params) {
  const std::int64_t blocks = gpu_blocks(shape, params_of(params));
  if (blocks == 0) return {};
  LaunchStep step;
  step.dims.grid.x = static_cast<std::uint32_t>(blocks);
  step.dims.block.x = kQkRmsnormThreads;
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_cpu(const NormShape& shape, const void* params) {
  const QkRmsnormParams& p = params_of(params);
  const std::int64_t row_elements = p.q.heads * shape.q + p.k.heads * shape.k;
  if (p.rows == 0 || row_elements == 0) return {};
  const std::int64_t item_rows = qk_rmsnorm_cpu_rows(row_elements);
  LaunchStep step;
  step.dims.grid.x = static_cast<std::uint32_t>((p.rows + item_rows - 1) / item_rows);
  return {step};
}

// Defaults: DeepSeek-V3's latent attention, norms over whole rows.
std::vector<ParamSpec> shape_params() {
  const auto size = [](const char* name, const char* doc, std::int64_t value) {
    return ParamSpec{name, doc, ShapeValue(value), 1, kQkRmsnormSizeMax, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      size("Nq", "elements that one norm of q covers: its row, or its head size", 1536),
      size("Nk", "elements that one norm of k covers", 512),
      word("io", "type of q, k and the outputs", {"bf16", "f16"}),
      word("weights", "type of both weights", {"bf16", "f16", "f32"}),
      ParamSpec{"weight_bias",
                "whether 1 + w multiplies instead of w (Gemma)",
                ShapeValue(false),
                0,
                0,
                {}},
      word("rope", "rotation after the norm: of halves (neox) or of neighbours",
           {"none", "neox", "interleaved"}),
      word("rope_table", "type of cos and sin", {"f32", "bf16", "f16"}),
      ParamSpec{"rotary",
                "elements of a vector that are rotated, the first ones",
                ShapeValue(std::int64_t{0}),
                0,
                kQkRmsnormSizeMax,
                {}},
      ParamSpec{"q_group",
                "elements of q that share a scale, as e4m3; 0: q is not quantised",
                ShapeValue(std::int64_t{0}),
                0,
                kQkRmsnormSizeMax,
                {}},
  };
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t min,
                          std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), min, max, {}};
  };
  return {
      integer("M", "rows, one per token", 1024, 0, 1 << 20),
      integer("Hq", "heads per row of q, each normed by itself", 1, 0, 1024),
      integer("Hk", "heads per row of k", 1, 0, 1024),
      ParamSpec{
          "in_place", "whether the outputs are q and k themselves", ShapeValue(false), 0, 0, {}},
      ParamSpec{
          "wide_positions", "whether positions are i64 and not i32", ShapeValue(false), 0, 0, {}},
  };
}

}  // namespace

Op qk_rmsnorm_op() {
  return Op{
      .name = "qk_rmsnorm",
      .doc = "RMS norms of queries and keys in one launch, per row or per head; then rope and e4m3",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(QkRmsnormParams),
      .implementations =
          {
              Implementation{
                  .name = "qk_rmsnorm/packs",
                  .doc = "GPU: each vector in the registers of a group of threads, read once",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve_gpu,
                  .plan = plan_gpu,
                  .source = "qk_rmsnorm/packs.cu",
                  .name_expressions = {"kiln::qk_rmsnorm_packs"},
              },
              Implementation{
                  .name = "qk_rmsnorm/cpu",
                  .doc = "native CPU: a few rows at a time",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve_cpu,
                  .plan = plan_cpu,
                  .source = "qk_rmsnorm/cpu.cc",
                  .name_expressions = {"kiln::qk_rmsnorm_cpu"},
              },
          },
  };
}

}  // namespace kiln
