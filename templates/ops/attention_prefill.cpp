// SPDX-License-Identifier: Apache-2.0
// The op attention_prefill: attention of packed sequences of queries over packed keys and values.
#include <fmt/format.h>

#include <initializer_list>
#include <utility>

#include "templates/kernels/attention_prefill/cpu_tiles.h"
#include "templates/kernels/attention_prefill/params.h"
#include "templates/kernels/attention_prefill/tiles.h"
#include "templates/kernels/varlen/tile_count.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

const AttentionPrefillParams& params_of(const void* params) {
  return *static_cast<const AttentionPrefillParams*>(params);
}

int size_of(const Shape& shape, const char* name) {
  return static_cast<int>(shape.integer(name));
}

Answer can_build_common(const Shape& shape) {
  if (shape.word("io") != "bf16") {
    return Answer::no(fmt::format("not built yet by this implementation: io={}; it builds bf16",
                                  shape.word("io")));
  }
  for (const char* name : {"D_qk", "D_vo"}) {
    const std::int64_t size = shape.integer(name);
    if (size % 8 == 0 && size >= 8 && size <= 256) continue;
    return Answer::no(fmt::format(
        "{}={}: it builds head sizes that are a multiple of 8 and at most 256", name, size));
  }
  if (shape.integer("Hq") % shape.integer("Hkv") != 0) {
    return Answer::no(fmt::format(
        "Hq={} is not a multiple of Hkv={}: each key/value head serves as many query heads",
        shape.integer("Hq"), shape.integer("Hkv")));
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

Answer can_serve(const Shape&, const void* params) {
  const AttentionPrefillParams& p = params_of(params);
  constexpr std::int64_t kTokensMax = std::int64_t{1} << 30;  // so that sums of two fit 32 bits
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  for (const auto& [name, total] :
       {std::pair{"total_q", p.total_q}, std::pair{"total_kv", p.total_kv}}) {
    if (total >= 0 && total <= kTokensMax) continue;
    return Answer::no(fmt::format("{} is {}; from 0 to {} are served", name, total, kTokensMax));
  }
  if (p.batch == 0 || p.total_q == 0) return Answer::yes();
  struct Tensor {
    const char* name;
    const void* data;
    bool empty;  // and so may have no data
  };
  const bool no_keys = p.total_kv == 0;
  for (const auto& [name, data, empty] :
       {Tensor{"q", p.q.data, false}, Tensor{"k", p.k.data, no_keys},
        Tensor{"v", p.v.data, no_keys}, Tensor{"out", p.out, false},
        Tensor{"cu_seqlens_q", p.cu_seqlens_q, false},
        Tensor{"cu_seqlens_kv", p.cu_seqlens_kv, false}}) {
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

LaunchPlan plan_gpu(const Shape& shape, const void* params) {
  const AttentionPrefillParams& p = params_of(params);
  const int rows = attention_prefill_rows(size_of(shape, "D_qk"), size_of(shape, "D_vo"));
  if (p.total_q == 0 || p.batch == 0) return {};
  LaunchStep step;
  step.dims.grid = {static_cast<std::uint32_t>(varlen_tile_count(p.total_q, p.batch, rows)),
                    static_cast<std::uint32_t>(shape.integer("Hq")), 1};
  step.dims.block = {128, 1, 1};
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_cpu(const Shape& shape, const void* params) {
  const AttentionPrefillParams& p = params_of(params);
  if (p.total_q == 0 || p.batch == 0) return {};
  const int group = size_of(shape, "Hq") / size_of(shape, "Hkv");
  const std::int64_t tiles =
      varlen_tile_count(p.total_q, p.batch, attention_prefill_cpu_queries(group));
  const int head_groups = size_of(shape, "Hq") / attention_prefill_cpu_heads(group);
  LaunchStep step;  // the product may need more than the 32 bits of one dimension
  step.dims.grid = {static_cast<std::uint32_t>(head_groups), static_cast<std::uint32_t>(tiles), 1};
  return {step};
}

// Defaults: Llama-3.1-8B.
std::vector<ParamSpec> shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value) {
    return ParamSpec{name, doc, ShapeValue(value), 1, 1024, {}};
  };
  return {
      integer("Hq", "query heads, a multiple of Hkv", 32),
      integer("Hkv", "key and value heads", 8),
      integer("D_qk", "elements of a query or key head", 128),
      integer("D_vo", "elements of a value or output head", 128),
      ParamSpec{"causal",
                "whether a query sees only the keys up to its own; the last query sees all",
                ShapeValue(true),
                0,
                0,
                {}},
      ParamSpec{
          "io", "type of q, k, v and out", ShapeValue(std::string("bf16")), 0, 0, {"bf16", "f16"}},
  };
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t min) {
    return ParamSpec{name, doc, ShapeValue(value), min, 1 << 20, {}};
  };
  return {
      integer("batch", "sequences", 1, 0),
      integer("q_len", "queries of each sequence; with ragged, of the longest", 1024, 0),
      integer("kv_len", "keys of each sequence; with ragged, of the longest; -1: as many as q_len",
              -1, -1),
      ParamSpec{"ragged", "sequences of every length from 0 on", ShapeValue(false), 0, 0, {}},
      ParamSpec{"lse", "whether the log-sum-exp is written too", ShapeValue(false), 0, 0, {}},
  };
}

}  // namespace

Op attention_prefill_op() {
  return Op{
      .name = "attention_prefill",
      .doc = "attention of packed sequences of queries over packed keys and values",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(AttentionPrefillParams),
      .implementations =
          {
              Implementation{
                  .name = "attention_prefill/plain",
                  .doc = "GPU: ordinary arithmetic on tiles in shared memory; any head size",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve,
                  .plan = plan_gpu,
                  .source = "attention_prefill/plain.cu",
                  .name_expressions = {"kiln::attention_prefill_plain"},
              },
              Implementation{
                  .name = "attention_prefill/cpu",
                  .doc = "native CPU: blocked products on fp32 copies of a tile of keys",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve,
                  .plan = plan_cpu,
                  .source = "attention_prefill/cpu.cc",
                  .name_expressions = {"kiln::attention_prefill_cpu"},
              },
          },
  };
}

}  // namespace kiln
