// SPDX-License-Identifier: Apache-2.0
// The op kda_decode: one token of Kimi Delta Attention per sequence.
#include <fmt/format.h>

#include <initializer_list>

#include "templates/kernels/kda_decode/cpu_slices.h"
#include "templates/kernels/kda_decode/params.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

// A GPU's grid has 31 bits in x, and the CPU's slices of V need a few of 32.
constexpr std::int64_t kStatesMax = std::int64_t{1} << 24;

const KdaDecodeParams& params_of(const void* params) {
  return *static_cast<const KdaDecodeParams*>(params);
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

Answer can_serve_common(const Shape& shape, const KdaDecodeParams& p) {
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  if (p.batch * shape.integer("HV") > kStatesMax) {
    return Answer::no(fmt::format("{} sequences of {} heads are more than {} states in one call",
                                  p.batch, shape.integer("HV"), kStatesMax));
  }
  if (p.pool < 0) return Answer::no(fmt::format("pool is {}", p.pool));
  if (p.slot_bytes != 4 && p.slot_bytes != 8) {
    return Answer::no(fmt::format("slot_bytes is {}; slots have 4 or 8 bytes", p.slot_bytes));
  }
  struct Tensor {
    const char* name;
    const void* data;
  };
  for (const auto& [name, data] :
       {Tensor{"q", p.q.data}, Tensor{"k", p.k.data}, Tensor{"v", p.v.data}, Tensor{"a", p.a.data},
        Tensor{"b", p.b}, Tensor{"a_log", p.a_log}, Tensor{"out", p.out}, Tensor{"state", p.state},
        Tensor{"slots", p.slots}}) {
    // An empty tensor may have no data.
    const bool empty = p.batch == 0 || (data == p.state && p.pool == 0);
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

Answer can_serve_gpu(const Shape& shape, const void* params) {
  const KdaDecodeParams& p = params_of(params);
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

// Enough blocks to give each multiprocessor of a large chip work, as long as a block keeps at
// least 16 rows: one step of its four warps.
std::uint32_t gpu_slices(std::int64_t states, std::int64_t v) {
  constexpr std::int64_t kBlocksWanted = 512;
  std::int64_t slices = 1;
  while (states * slices < kBlocksWanted && v / (slices * 2) >= 16) slices *= 2;
  return static_cast<std::uint32_t>(slices);
}

LaunchPlan plan_gpu(const Shape& shape, const void* params) {
  const std::int64_t states = params_of(params).batch * shape.integer("HV");
  if (states == 0) return {};
  LaunchStep step;
  step.dims.grid = {static_cast<std::uint32_t>(states), gpu_slices(states, shape.integer("V")), 1};
  step.dims.block = {128, 1, 1};
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_cpu(const Shape& shape, const void* params) {
  const std::int64_t states = params_of(params).batch * shape.integer("HV");
  if (states == 0) return {};
  const int slices = kda_decode_cpu_slices(states, static_cast<int>(shape.integer("V")));
  LaunchStep step;
  step.dims.grid.x = static_cast<std::uint32_t>(states * slices);
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
  return {
      ParamSpec{"batch", "sequences, one token each", ShapeValue(std::int64_t{64}), 0, 1 << 20, {}},
      ParamSpec{"pool",
                "slots of the state pool; 0: as many as batch",
                ShapeValue(std::int64_t{0}),
                0,
                1 << 20,
                {}},
  };
}

}  // namespace

Op kda_decode_op() {
  return Op{
      .name = "kda_decode",
      .doc = "Kimi Delta Attention, one token per sequence on a pool of states",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(KdaDecodeParams),
      .implementations =
          {
              Implementation{
                  .name = "kda_decode/warp_rows",
                  .doc =
                      "GPU: a warp moves whole state rows through its registers, no shared memory",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve_gpu,
                  .plan = plan_gpu,
                  .source = "kda_decode/warp_rows.cu",
                  .name_expressions = {"kiln::kda_decode_warp_rows"},
              },
              Implementation{
                  .name = "kda_decode/cpu",
                  .doc = "native CPU: four state rows at a time, read and written once",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve_cpu,
                  .plan = plan_cpu,
                  .source = "kda_decode/cpu.cc",
                  .name_expressions = {"kiln::kda_decode_cpu"},
              },
          },
  };
}

}  // namespace kiln
