// SPDX-License-Identifier: Apache-2.0
// The op kda_decode: one or a few tokens of Kimi Delta Attention per sequence.
#include <fmt/format.h>

#include "templates/kernels/kda/tile.h"
#include "templates/kernels/kda_decode/cpu_slices.h"
#include "templates/kernels/kda_decode/params.h"
#include "templates/ops/kda.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

// From this many states on, large_batch is taken. On an H200 small_batch was the faster one
// wherever both were measured, which is up to 2,048 states
// (docs/results/2026-11-26-h200-gpu_check.txt); at 8,192, where small_batch was not measured,
// large_batch reached 90 % of a copy. States, not sequences: with 32 heads that is a batch of 128.
constexpr std::int64_t kStatesLarge = 4096;

const KdaDecodeParams& params_of(const void* params) {
  return *static_cast<const KdaDecodeParams*>(params);
}

Answer can_serve_any(const KdaShape& shape, const void* params) {
  const KdaDecodeParams& p = params_of(params);
  if (const Answer answer = can_serve_kda(shape, p); !answer) return answer;
  if (p.batch > 0 && p.intermediate.data && !p.intermediate_slots) {
    return Answer::no("intermediate_slots is null");
  }
  return Answer::yes();
}

Answer can_serve_single(const KdaShape& shape, const void* params) {
  const KdaDecodeParams& p = params_of(params);
  if (p.tokens != 1) return Answer::quick_no("up to {} tokens per sequence", p.tokens);
  if (p.state_write != kKdaWriteLast || p.accepted || p.intermediate.data) {
    return Answer::quick_no("the state is not just updated in its slot");
  }
  if (const Answer answer = is_aligned_kda(shape, p); !answer) return answer;
  return can_serve_any(shape, params);
}

Answer is_best_large(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  if (states >= kStatesLarge) return Answer::yes();
  return Answer::quick_no("{} states; worth it from {} on", states, kStatesLarge);
}

LaunchStep& add_gpu_step(LaunchPlan& plan, std::int64_t blocks_x, std::int64_t blocks_y) {
  LaunchStep& step = plan.add();
  step.dims.grid.x = static_cast<std::uint32_t>(blocks_x);
  step.dims.grid.y = static_cast<std::uint32_t>(blocks_y);
  step.dims.block.x = kKdaThreads;
  step.dims.programmatic_dependent_launch = true;
  return step;
}

LaunchPlan plan_large(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  LaunchPlan plan;
  if (states > 0) add_gpu_step(plan, states, 1).dims.fill_device = true;
  return plan;
}

// Enough blocks to give each multiprocessor of a large chip work, as long as each warp of a block
// keeps a tile.
LaunchPlan plan_small(const KdaShape& shape, const void* params) {
  constexpr std::int64_t kBlocksWanted = 512;
  const std::int64_t states = kda_states(shape, params_of(params));
  LaunchPlan plan;
  if (states == 0) return plan;
  const int rows_min = kda_block_rows(shape.vk, shape.k, shape.v, shape.state_bytes);
  std::int64_t slices = 1;
  while (states * slices < kBlocksWanted && rows_min * slices * 2 <= shape.v) slices *= 2;
  add_gpu_step(plan, states, slices);
  return plan;
}

LaunchPlan plan_several(const KdaShape& shape, const void* params) {
  const KdaDecodeParams& p = params_of(params);
  const std::int64_t states = kda_states(shape, p);
  LaunchPlan plan;
  if (states == 0 || p.tokens == 0) return plan;
  add_gpu_step(plan, states,
               shape.v / kda_token_rows(shape.vk, shape.k, shape.v, shape.state_bytes));
  return plan;
}

LaunchPlan plan_cpu(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid.x =
      static_cast<std::uint32_t>(states * kda_decode_cpu_slices(shape.vk, states, shape.v));
  return {step};
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value) {
    return ParamSpec{name, doc, ShapeValue(value), 0, 1 << 20, {}};
  };
  return {
      integer("batch", "sequences", 64),
      integer("tokens", "tokens of each sequence; with ragged, of the longest", 1),
      ParamSpec{"ragged", "sequences of every length from 0 on", ShapeValue(false), 0, 0, {}},
      integer("pool", "slots of the state pool; 0: as many as batch", 0),
  };
}

Implementation gpu_implementation(const char* name, const char* doc,
                                  ShapeFunction<Answer> can_serve, ShapeFunction<LaunchPlan> plan,
                                  ShapeFunction<Answer> is_best = nullptr) {
  return Implementation{
      .name = fmt::format("kda_decode/{}", name),
      .doc = doc,
      .families = {ArchFamily::nvidia, ArchFamily::amd},
      .can_build = can_build_kda,
      .can_serve = can_serve,
      .is_best = is_best,
      .plan = plan,
      .source = fmt::format("kda_decode/{}.cu", name),
      .name_expressions = {fmt::format("kiln::kda_decode_{}", name)},
  };
}

}  // namespace

Op kda_decode_op() {
  return Op{
      .name = "kda_decode",
      .doc = "Kimi Delta Attention, one or a few tokens per sequence on a pool of states",
      .shape_params = kda_shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(KdaDecodeParams),
      .implementations =
          {
              gpu_implementation("large_batch",
                                 "GPU, many states: warps take runs of tiles, loads run ahead",
                                 can_serve_single, plan_large, is_best_large),
              gpu_implementation("small_batch",
                                 "GPU, few states: V split over blocks, registers only",
                                 can_serve_single, plan_small),
              gpu_implementation("several_tokens",
                                 "GPU: the state in registers from token to token; any alignment",
                                 can_serve_any, plan_several),
              Implementation{
                  .name = "kda_decode/cpu",
                  .doc = "native CPU: a few values at a time, their state read and written once",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_kda,
                  .can_serve = can_serve_any,
                  .plan = plan_cpu,
                  .source = "kda_decode/cpu.cc",
                  .name_expressions = {"kiln::kda_decode_cpu"},
              },
          },
  };
}

}  // namespace kiln
