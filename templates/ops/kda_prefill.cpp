// SPDX-License-Identifier: Apache-2.0
// The op kda_prefill: sequences of tokens of Kimi Delta Attention, from and to a pool of states.
#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>

#include "templates/kernels/kda_prefill/params.h"
#include "templates/kernels/kda_prefill/slices.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

const KdaPrefillParams& params_of(const void* params) {
  return *static_cast<const KdaPrefillParams*>(params);
}

// What the built implementations have in common: one type and layout each so far.
Answer can_build_common(const Shape& shape) {
  struct Word {
    const char* name;
    const char* built;
  };
  for (const auto& [name, built] :
       {Word{"gate", "softplus"}, Word{"io", "bf16"}, Word{"state", "f32"}, Word{"layout", "VK"}}) {
    if (shape.word(name) == built) continue;
    return Answer::no(fmt::format("not built yet by this implementation: {}={}; it builds {}", name,
                                  shape.word(name), built));
  }
  for (const char* name : {"K", "V"}) {
    if (shape.integer(name) == 128) continue;
    return Answer::no(fmt::format("not built yet by this implementation: {}={}; it builds 128",
                                  name, shape.integer(name)));
  }
  if (shape.integer("HV") % shape.integer("H") != 0) {
    return Answer::no(fmt::format(
        "HV={} is not a multiple of H={}: each query/key head serves as many value heads",
        shape.integer("HV"), shape.integer("H")));
  }
  return Answer::yes();
}

Answer can_build_gpu(const Shape& shape, const Arch& arch) {
  if (arch.family() == ArchFamily::nvidia && arch.sm() < 80) {
    return Answer::no(fmt::format("{} is older than sm_80", arch.name()));
  }
  return can_build_common(shape);
}

Answer can_build_cpu(const Shape& shape, const Arch&) {
  return can_build_common(shape);
}

Answer can_serve_common(const Shape& shape, const KdaPrefillParams& p) {
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  // Blocks and work items are counted in 32 bits; none has fewer than 16 rows.
  if (p.batch * shape.integer("HV") * (shape.integer("V") / 16) > INT32_MAX) {
    return Answer::no(fmt::format("{} sequences of {} heads are more than one launch can have",
                                  p.batch, shape.integer("HV")));
  }
  if (p.pool < 0) return Answer::no(fmt::format("pool is {}", p.pool));
  if (p.total < 0) return Answer::no(fmt::format("total is {}", p.total));
  if (p.slot_bytes != 4 && p.slot_bytes != 8) {
    return Answer::no(fmt::format("slot_bytes is {}; slots have 4 or 8 bytes", p.slot_bytes));
  }
  if (p.batch == 0) return Answer::yes();
  struct Tensor {
    const char* name;
    const void* data;
    bool empty;  // and so may have no data
  };
  const bool no_tokens = p.total == 0;
  for (const auto& [name, data, empty] :
       {Tensor{"q", p.q.data, no_tokens}, Tensor{"k", p.k.data, no_tokens},
        Tensor{"v", p.v.data, no_tokens}, Tensor{"a", p.a.data, no_tokens},
        Tensor{"b", p.b, no_tokens}, Tensor{"a_log", p.a_log, false},
        Tensor{"out", p.out, no_tokens}, Tensor{"state", p.state, p.pool == 0},
        Tensor{"slots", p.slots, false}, Tensor{"cu_seqlens", p.cu_seqlens, false}}) {
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

Answer can_serve_gpu(const Shape& shape, const void* params) {
  const KdaPrefillParams& p = params_of(params);
  if (reinterpret_cast<std::uintptr_t>(p.state) % 16 != 0 || p.state_slot_stride % 4 != 0 ||
      p.state_head_stride % 4 != 0) {
    return Answer::no(
        fmt::format("a row of the state is not 16-byte aligned (pointer {}, slot stride {}, head "
                    "stride {} elements)",
                    p.state, p.state_slot_stride, p.state_head_stride));
  }
  return can_serve_common(shape, p);
}

Answer can_serve_cpu(const Shape& shape, const void* params) {
  return can_serve_common(shape, params_of(params));
}

LaunchPlan plan_gpu(const Shape& shape, const void* params) {
  const std::int64_t states = params_of(params).batch * shape.integer("HV");
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid = {static_cast<std::uint32_t>(states),
                    static_cast<std::uint32_t>(shape.integer("V") / kKdaPrefillGpuRows), 1};
  step.dims.block = {128, 1, 1};
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_cpu(const Shape& shape, const void* params) {
  const std::int64_t states = params_of(params).batch * shape.integer("HV");
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid.x = static_cast<std::uint32_t>(states * (shape.integer("V") / kKdaPrefillCpuRows));
  return {step};
}

// Defaults: Kimi-Linear-48B-A3B on one device.
std::vector<ParamSpec> shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), 1, max, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      integer("H", "query and key heads", 32, 1024),
      integer("HV", "value heads, a multiple of H", 32, 1024),
      integer("K", "elements of a query or key head", 128, 1024),
      integer("V", "elements of a value head", 128, 1024),
      word("gate", "how a becomes the decay", {"softplus", "lower_bound", "precomputed", "scalar"}),
      word("io", "type of q, k, v, a, b and out", {"bf16", "f16", "f32"}),
      word("state", "type of the state", {"f32", "bf16"}),
      word("layout", "the state's matrix, outer dimension first", {"VK", "KV"}),
      ParamSpec{"qk_l2norm", "whether q and k are normalised", ShapeValue(true), 0, 0, {}},
  };
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
      .doc = "Kimi Delta Attention over the tokens of packed sequences, state as kda_decode's",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(KdaPrefillParams),
      .implementations =
          {
              Implementation{
                  .name = "kda_prefill/lane_rows",
                  .doc = "GPU: token by token, a warp keeps its state rows in registers",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve_gpu,
                  .plan = plan_gpu,
                  .source = "kda_prefill/lane_rows.cu",
                  .name_expressions = {"kiln::kda_prefill_lane_rows"},
              },
              Implementation{
                  .name = "kda_prefill/cpu",
                  .doc = "native CPU: token by token, a slice of the state stays in the cache",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve_cpu,
                  .plan = plan_cpu,
                  .source = "kda_prefill/cpu.cc",
                  .name_expressions = {"kiln::kda_prefill_cpu"},
              },
          },
  };
}

}  // namespace kiln
