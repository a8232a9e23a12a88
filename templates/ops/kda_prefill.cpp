// SPDX-License-Identifier: Apache-2.0
// The op kda_prefill: sequences of tokens of Kimi Delta Attention, from and to a pool of states.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "templates/kernels/kda/tile.h"
#include "templates/kernels/kda_prefill/chunk.h"
#include "templates/kernels/kda_prefill/params.h"
#include "templates/kernels/kda_prefill/slices.h"
#include "templates/kernels/varlen/tile_count.h"
#include "templates/ops/kda.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

// Fewer tokens than this in each sequence go through the recurrence.
constexpr std::int64_t kTokensChunked = 32;

// Below this, preparing chunks in a launch of their own saves nothing.
constexpr std::int64_t kTokensParallel = 64;

constexpr std::string_view kMatrixArchs[] = {"gfx90a", "gfx942", "gfx950"};

const KdaPrefillParams& params_of(const void* params) {
  return *static_cast<const KdaPrefillParams*>(params);
}

Answer can_serve_prefill(const KdaShape& shape, const void* params) {
  const KdaPrefillParams& p = params_of(params);
  if (const Answer answer = can_serve_kda(shape, p); !answer) return answer;
  if (p.batch == 0 || !p.checkpoints.data) return Answer::yes();
  if (!p.checkpoint_slots) return Answer::no("checkpoint_slots is null");
  if (p.checkpoint_every < 1) {
    return Answer::no(fmt::format("checkpoint_every is {}", p.checkpoint_every));
  }
  return Answer::yes();
}

// Of all sequences: as many as there may be, where only the kernel knows where they begin.
std::int64_t chunks_of(const KdaPrefillParams& p) {
  if (p.cu_seqlens != nullptr) return varlen_tile_count(p.total, p.batch, kKdaPrefillChunk);
  constexpr std::int64_t kTokensMax = std::int64_t{1} << 35;  // nothing overflows up to here
  return p.batch *
         ((std::min<std::int64_t>(p.tokens, kTokensMax) + kKdaPrefillChunk - 1) / kKdaPrefillChunk);
}

Answer can_serve_chunked(const KdaShape& shape, const void* params) {
  const KdaPrefillParams& p = params_of(params);
  if (p.batch > 0 && p.checkpoints.data && p.checkpoint_every % kKdaPrefillChunk != 0) {
    return Answer::quick_no("checkpoints every {} tokens; it has them at multiples of {}",
                            p.checkpoint_every, kKdaPrefillChunk);
  }
  return can_serve_prefill(shape, params);
}

Answer can_serve_parallel(const KdaShape& shape, const void* params) {
  const KdaPrefillParams& p = params_of(params);
  if (p.workspace == nullptr) return Answer::quick_no("the call has no workspace");
  if (Answer chunked = can_serve_chunked(shape, params); !chunked) return chunked;
  const std::int64_t chunks = chunks_of(p);
  if (chunks > INT32_MAX / shape.value_heads) {
    return Answer::quick_no("{} chunks of {} heads are too many for a launch", chunks,
                            shape.value_heads);
  }
  const std::int64_t floats = chunks * shape.value_heads * kda_prefill_record(shape.k).words;
  if (p.workspace_floats < floats) {
    return Answer::quick_no("the workspace has {} floats, and {} are needed", p.workspace_floats,
                            floats);
  }
  if (reinterpret_cast<std::uintptr_t>(p.workspace) % 16 != 0) {
    return Answer::quick_no("the workspace is not 16-byte aligned");
  }
  return Answer::yes();
}

// Of one sequence; the average where only the kernel knows.
std::int64_t sequence_tokens(const KdaPrefillParams& p) {
  return p.cu_seqlens != nullptr ? p.total / std::max(p.batch, 1) : p.tokens;
}

Answer worth_from(const KdaPrefillParams& p, std::int64_t tokens_min) {
  const std::int64_t tokens = sequence_tokens(p);
  if (tokens >= tokens_min) return Answer::yes();
  return Answer::quick_no("{} tokens per sequence; worth it from {} on", tokens, tokens_min);
}

// Chunks are computed whole.
Answer is_best_chunked(const KdaShape&, const void* params) {
  return worth_from(params_of(params), kTokensChunked);
}
Answer is_best_parallel(const KdaShape&, const void* params) {
  return worth_from(params_of(params), kTokensParallel);
}

Answer can_build_chunked(const Shape& shape, const Arch& arch) {
  if (arch.family() == ArchFamily::amd &&
      std::ranges::none_of(kMatrixArchs, [&](std::string_view chip) {
        return std::string_view(arch.name()).starts_with(chip);
      })) {
    return Answer::no(fmt::format("{} has no bf16 MFMA of 16 x 16 x 16; it builds {}", arch.name(),
                                  fmt::join(kMatrixArchs, ", ")));
  }
  if (shape.integer("K") > 128) {
    return Answer::no(fmt::format("K={}: it builds 64 and 128, whose chunks fit into shared memory",
                                  shape.integer("K")));
  }
  return can_build_kda(shape, arch);
}

LaunchPlan plan_chunked_gpu(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  LaunchPlan plan;
  if (states == 0) return plan;
  LaunchStep& step = plan.add();
  step.dims.grid.x = static_cast<std::uint32_t>(states);
  step.dims.grid.y = static_cast<std::uint32_t>(shape.v / kKdaPrefillValues);
  step.dims.block.x = kKdaThreads;
  step.dims.shared_bytes_dynamic = static_cast<std::uint32_t>(kda_prefill_shared(shape.k).total);
  step.dims.programmatic_dependent_launch = true;
  return plan;
}

LaunchPlan plan_parallel(const KdaShape& shape, const void* params) {
  const KdaPrefillParams& p = params_of(params);
  const std::int64_t states = kda_states(shape, p);
  LaunchPlan plan;
  if (states == 0) return plan;
  if (const std::int64_t records = chunks_of(p) * shape.value_heads; records > 0) {
    LaunchStep& prepare = plan.add();
    prepare.entry = 0;
    prepare.dims.grid.x = static_cast<std::uint32_t>(records);
    prepare.dims.block.x = kKdaThreads;
    prepare.dims.programmatic_dependent_launch = true;
  }
  LaunchStep& scan = plan.add();
  scan.entry = 1;
  scan.dims.grid.x = static_cast<std::uint32_t>(states);
  scan.dims.grid.y = static_cast<std::uint32_t>(shape.v / kKdaPrefillScanValues);
  scan.dims.block.x = kKdaThreads;
  scan.dims.shared_bytes_dynamic = static_cast<std::uint32_t>(kda_prefill_scan_shared(shape.k));
  scan.dims.programmatic_dependent_launch = true;
  return plan;
}

LaunchPlan plan_gpu(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  LaunchPlan plan;
  if (states == 0) return plan;
  LaunchStep& step = plan.add();
  step.dims.grid.x = static_cast<std::uint32_t>(states);
  step.dims.grid.y = static_cast<std::uint32_t>(
      shape.v / kda_token_rows(shape.vk, shape.k, shape.v, shape.state_bytes));
  step.dims.block.x = kKdaThreads;
  step.dims.programmatic_dependent_launch = true;
  return plan;
}

LaunchPlan plan_cpu(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid.x =
      static_cast<std::uint32_t>(states * (shape.v / kda_prefill_cpu_rows(shape.vk)));
  return {step};
}

LaunchPlan plan_chunked_cpu(const KdaShape& shape, const void* params) {
  const std::int64_t states = kda_states(shape, params_of(params));
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid.x = static_cast<std::uint32_t>(states * kKdaPrefillSlices);
  return {step};
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value) {
    return ParamSpec{name, doc, ShapeValue(value), 0, 1 << 20, {}};
  };
  return {
      integer("batch", "sequences", 4),
      integer("tokens", "tokens of each sequence; with ragged, of the longest", 256),
      ParamSpec{"ragged", "sequences of every length from 0 on", ShapeValue(false), 0, 0, {}},
      integer("pool", "slots of the state pool; 0: as many as batch", 0),
      ParamSpec{"workspace",
                "whether a call on a GPU has one: then chunks are prepared side by side",
                ShapeValue(true),
                0,
                0,
                {}},
      ParamSpec{"zero_initial_state",
                "whether sequences begin with a zero state or with their slot's",
                ShapeValue(false),
                0,
                0,
                {}},
  };
}

}  // namespace

Op kda_prefill_op() {
  return Op{
      .name = "kda_prefill",
      .doc = "Kimi Delta Attention over the tokens of sequences, state as kda_decode's",
      .shape_params = kda_shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(KdaPrefillParams),
      .implementations =
          {
              Implementation{
                  .name = "kda_prefill/chunk_parallel",
                  .doc = "GPU, with a workspace: all chunks prepared at once, then the states "
                         "taken through them",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_chunked,
                  .can_serve = can_serve_parallel,
                  .is_best = is_best_parallel,
                  .plan = plan_parallel,
                  .source = "kda_prefill/chunk_parallel.cu",
                  .name_expressions = {"kiln::kda_prefill_prepare", "kiln::kda_prefill_scan"},
              },
              Implementation{
                  .name = "kda_prefill/chunked",
                  .doc = "GPU: chunks of 16 tokens on matrix instructions, the state in registers",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_chunked,
                  .can_serve = can_serve_chunked,
                  .is_best = is_best_chunked,
                  .plan = plan_chunked_gpu,
                  .source = "kda_prefill/chunked.cu",
                  .name_expressions = {"kiln::kda_prefill_chunked"},
              },
              Implementation{
                  .name = "kda_prefill/lane_rows",
                  .doc = "GPU: token by token, a warp keeps its state rows in registers",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_kda,
                  .can_serve = can_serve_prefill,
                  .plan = plan_gpu,
                  .source = "kda_prefill/lane_rows.cu",
                  .name_expressions = {"kiln::kda_prefill_lane_rows"},
              },
              Implementation{
                  .name = "kda_prefill/chunked_cpu",
                  .doc = "native CPU: chunks of 16 tokens as products of matrices",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_kda,
                  .can_serve = can_serve_chunked,
                  .is_best = is_best_chunked,
                  .plan = plan_chunked_cpu,
                  .source = "kda_prefill/chunked.cc",
                  .name_expressions = {"kiln::kda_prefill_chunked_cpu"},
              },
              Implementation{
                  .name = "kda_prefill/cpu",
                  .doc = "native CPU: token by token, a slice of the state stays in the cache",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_kda,
                  .can_serve = can_serve_prefill,
                  .plan = plan_cpu,
                  .source = "kda_prefill/cpu.cc",
                  .name_expressions = {"kiln::kda_prefill_cpu"},
              },
          },
  };
}

}  // namespace kiln
