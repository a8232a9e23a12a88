// SPDX-License-Identifier: Apache-2.0
// The op attention_decode: one query token per sequence over a paged key/value cache.
#include <fmt/format.h>

#include <initializer_list>
#include <limits>

#include "templates/kernels/attention_decode/params.h"
#include "templates/kernels/attention_decode/splits.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

// Query heads that one block of the GPU and one work item of the CPU take, as their sources do.
constexpr std::int64_t kGpuHeadsMax = 8;
constexpr std::int64_t kCpuHeadsMax = 32;

const AttentionDecodeParams& params_of(const void* params) {
  return *static_cast<const AttentionDecodeParams*>(params);
}

Answer can_build_common(const Shape& shape) {
  for (const char* name : {"io", "kv"}) {
    if (shape.word(name) == "bf16") continue;
    return Answer::no(fmt::format("not built yet by this implementation: {}={}; it builds bf16",
                                  name, shape.word(name)));
  }
  const std::int64_t d_qk = shape.integer("D_qk");
  if (d_qk % 64 != 0 || d_qk > 1024) {
    return Answer::no(
        fmt::format("not built yet by this implementation: D_qk={}; it builds "
                    "multiples of 64 up to 1024",
                    d_qk));
  }
  const std::int64_t d_vo = shape.integer("D_vo");
  if (d_vo != 64 && d_vo != 128 && d_vo != 256 && d_vo != 512) {
    return Answer::no(
        fmt::format("not built yet by this implementation: D_vo={}; it builds 64, "
                    "128, 256 and 512",
                    d_vo));
  }
  if (shape.flag("v_in_k") && d_vo > d_qk) {
    return Answer::no(fmt::format(
        "with v_in_k=true the values are a part of the keys, but D_vo={} is above D_qk={}", d_vo,
        d_qk));
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

Answer can_serve_sizes(const Shape& shape, const AttentionDecodeParams& p) {
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  if (p.page_size < 1) return Answer::no(fmt::format("page_size is {}", p.page_size));
  if (p.pages_max < 0) return Answer::no(fmt::format("pages_max is {}", p.pages_max));
  constexpr std::int64_t kTokensMax = 1 << 30;
  if (std::int64_t{p.pages_max} * p.page_size > kTokensMax) {
    return Answer::no(fmt::format("a sequence may have {} pages of {} tokens; at most {} tokens",
                                  p.pages_max, p.page_size, kTokensMax));
  }
  if (p.splits < 1 || p.splits > kAttentionDecodeSplitsMax) {
    return Answer::no(
        fmt::format("splits is {}; 1 to {} are done", p.splits, kAttentionDecodeSplitsMax));
  }
  // Blocks and work items are counted in 32 bits.
  const std::int64_t rows_max = std::numeric_limits<std::int32_t>::max() / p.splits;
  if (std::int64_t{p.batch} * shape.integer("Hq") > rows_max) {
    return Answer::no(fmt::format("batch {} times Hq={} times {} splits is above {}", p.batch,
                                  shape.integer("Hq"), p.splits,
                                  std::numeric_limits<std::int32_t>::max()));
  }
  return Answer::yes();
}

Answer can_serve(const Shape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (const Answer answer = can_serve_sizes(shape, p); !answer) return answer;
  if (p.batch == 0) return Answer::yes();
  struct Tensor {
    const char* name;
    const void* data;
    bool empty;  // then it may have no data
  };
  const bool no_tokens = p.pages_max == 0;
  for (const auto& [name, data, empty] :
       {Tensor{"q", p.q.data, false}, Tensor{"k", p.k.data, no_tokens},
        Tensor{"v", p.v.data, no_tokens}, Tensor{"block_table", p.block_table, no_tokens},
        Tensor{"seq_lens", p.seq_lens, false}, Tensor{"out", p.out, false},
        Tensor{"workspace", p.workspace, p.splits == 1}}) {
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

std::int64_t head_tiles(const Shape& shape, std::int64_t heads_max) {
  const std::int64_t group = shape.integer("Hq") / shape.integer("Hkv");
  return (group + heads_max - 1) / heads_max;
}

// The second of two steps, where there are partial results to put together.
void append_merge(LaunchPlan& plan, const Shape& shape, const AttentionDecodeParams& p,
                  const LaunchDims& like) {
  if (p.splits == 1) return;
  LaunchStep merge;
  merge.entry = 1;
  merge.dims = like;
  merge.dims.grid = {static_cast<std::uint32_t>(p.batch * shape.integer("Hq")), 1, 1};
  plan.push_back(merge);
}

LaunchPlan plan_gpu(const Shape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  LaunchStep split;
  split.dims.grid = {
      static_cast<std::uint32_t>(p.batch * shape.integer("Hkv") * head_tiles(shape, kGpuHeadsMax)),
      static_cast<std::uint32_t>(p.splits), 1};
  split.dims.block = {128, 1, 1};
  split.dims.programmatic_dependent_launch = true;
  LaunchPlan plan{split};
  append_merge(plan, shape, p, split.dims);
  return plan;
}

LaunchPlan plan_cpu(const Shape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  LaunchStep split;
  split.dims.grid.x = static_cast<std::uint32_t>(p.batch * shape.integer("Hkv") *
                                                 head_tiles(shape, kCpuHeadsMax) * p.splits);
  LaunchPlan plan{split};
  append_merge(plan, shape, p, split.dims);
  return plan;
}

// Defaults: Llama-3.1-8B on one device. MLA of DeepSeek-V3 and Kimi-Linear in its absorbed form:
// Hkv=1 D_qk=576 D_vo=512 v_in_k=true.
std::vector<ParamSpec> shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), 1, max, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      integer("Hq", "query heads, a multiple of Hkv", 32, 1024),
      integer("Hkv", "key and value heads", 8, 1024),
      integer("D_qk", "elements of a query or key head", 128, 1024),
      integer("D_vo", "elements of a value or output head", 128, 1024),
      ParamSpec{"v_in_k",
                "whether values are the first D_vo elements of their keys (MLA's latent cache)",
                ShapeValue(false),
                0,
                0,
                {}},
      word("io", "type of q and out", {"bf16", "f16", "f32"}),
      word("kv", "type of the key and value cache", {"bf16", "f16", "e4m3", "e5m2"}),
  };
}

std::vector<ParamSpec> call_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value, std::int64_t min,
                          std::int64_t max) {
    return ParamSpec{name, doc, ShapeValue(value), min, max, {}};
  };
  return {
      integer("batch", "sequences, one query token each", 8, 0, 1 << 20),
      integer("length", "tokens of each sequence in the cache", 4096, 0, 1 << 24),
      integer("page_size", "tokens of a page", 16, 1, 1 << 16),
      ParamSpec{
          "ragged", "whether lengths are random, from 0 to `length`", ShapeValue(false), 0, 0, {}},
      integer("splits", "parts that each sequence is divided into; 0: chosen by batch and length",
              0, 0, kAttentionDecodeSplitsMax),
  };
}

}  // namespace

Op attention_decode_op() {
  return Op{
      .name = "attention_decode",
      .doc = "attention of one query token per sequence over a paged cache: MHA, GQA, MQA, MLA",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(AttentionDecodeParams),
      .implementations =
          {
              Implementation{
                  .name = "attention_decode/split_kv",
                  .doc = "GPU: plain arithmetic units, heads of a group share each key and value; "
                         "splits are merged by a second launch",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve,
                  .plan = plan_gpu,
                  .source = "attention_decode/split_kv.cu",
                  .name_expressions = {"kiln::attention_decode_split",
                                       "kiln::attention_decode_merge"},
              },
              Implementation{
                  .name = "attention_decode/cpu",
                  .doc = "native CPU: heads of a group share each key and value",
                  .families = {ArchFamily::x86_64},
                  .can_build = can_build_cpu,
                  .can_serve = can_serve,
                  .plan = plan_cpu,
                  .source = "attention_decode/cpu.cc",
                  .name_expressions = {"kiln::attention_decode_cpu_split",
                                       "kiln::attention_decode_cpu_merge"},
              },
          },
  };
}

}  // namespace kiln
