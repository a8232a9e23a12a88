// SPDX-License-Identifier: Apache-2.0
// The op attention_prefill: attention of sequences of queries over their keys and values.
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

// What a launch reads of a shape.
struct PrefillShape {
  explicit PrefillShape(const Shape& shape)
      : q_heads(static_cast<int>(shape.integer("Hq"))),
        group(q_heads / static_cast<int>(shape.integer("Hkv"))),
        d_qk(static_cast<int>(shape.integer("D_qk"))),
        d_vo(static_cast<int>(shape.integer("D_vo"))),
        paged(shape.flag("paged")) {}
  int q_heads, group, d_qk, d_vo;
  bool paged;
};

Answer can_build_common(const Shape& shape) {
  for (const char* name : {"D_qk", "D_vo"}) {
    const std::int64_t size = shape.integer(name);
    if (size >= 1 && size <= 256) continue;
    return Answer::no(fmt::format("{}={}: it builds head sizes up to 256", name, size));
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

Answer can_build_mma(const Shape& shape, const Arch& arch) {
  if (Answer gpu = can_build_gpu(shape, arch); !gpu) return gpu;
  for (const char* name : {"D_qk", "D_vo"}) {
    const std::int64_t size = shape.integer(name);
    if (size % 8 == 0 && size >= 16) continue;
    return Answer::no(
        fmt::format("{}={}: it copies 8 elements at a time and multiplies 16", name, size));
  }
  return Answer::yes();
}

Answer can_build_wgmma(const Shape& shape, const Arch& arch) {
  if (arch.name() != "sm_90a") return Answer::no("warpgroups' products are those of sm_90a alone");
  if (Answer common = can_build_common(shape); !common) return common;
  for (const char* name : {"D_qk", "D_vo"}) {
    const std::int64_t size = shape.integer(name);
    if (size % 64 == 0) continue;
    return Answer::no(fmt::format("{}={}: its tiles are panels of 64 elements", name, size));
  }
  if (shape.word("variant") != "none") {
    return Answer::no(
        fmt::format("variant={}: it has no place for variants", shape.word("variant")));
  }
  return Answer::yes();
}

Answer can_build_cpu(const Shape& shape, const Arch&) {
  return can_build_common(shape);
}

// Numbers, of which device data are no part.
Answer check_numbers(const PrefillShape& shape, const AttentionPrefillParams& p) {
  constexpr std::int64_t kTokensMax = std::int64_t{1} << 30;  // so that sums of two fit 32 bits
  struct Number {
    const char* name;
    std::int64_t value, max;
  };
  for (const auto& [name, value, max] :
       {Number{"batch", p.batch, INT32_MAX}, Number{"total_q", p.total_q, kTokensMax},
        Number{"total_kv", p.total_kv, std::int64_t{1} << 40}, Number{"q_len", p.q_len, kTokensMax},
        Number{"kv_len", p.kv_len, kTokensMax},
        Number{"window_left", p.window_left, kAttentionPrefillWindowMax},
        Number{"window_right", p.window_right, kAttentionPrefillWindowMax}}) {
    if (value >= 0 && value <= max) continue;
    return Answer::no(fmt::format("{} is {}; from 0 to {} are served", name, value, max));
  }
  if (p.cu_seqlens_kv && p.total_kv > kTokensMax) {
    return Answer::no(
        fmt::format("total_kv is {}; from 0 to {} are served", p.total_kv, kTokensMax));
  }
  if (shape.paged && p.page_size < 1) {
    return Answer::no(fmt::format("page_size is {}", p.page_size));
  }
  return Answer::yes();
}

Answer can_serve(const PrefillShape& shape, const void* params) {
  const AttentionPrefillParams& p = params_of(params);
  if (Answer numbers = check_numbers(shape, p); !numbers) return numbers;
  if (p.batch == 0 || p.total_q == 0) return Answer::yes();
  struct Tensor {
    const char* name;
    const void* data;
    bool wanted;
  };
  const bool keys = p.total_kv > 0;
  for (const auto& [name, data, wanted] :
       {Tensor{"q", p.q.data, true}, Tensor{"k", p.k.data, keys}, Tensor{"v", p.v.data, keys},
        Tensor{"out", p.out.data, true}, Tensor{"block_table", p.block_table, keys && shape.paged},
        Tensor{"mask_offsets", p.mask_offsets, p.mask != nullptr}}) {
    if (!data && wanted) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

// Whether every row begins at a multiple of 16 bytes.
bool is_aligned(const AttentionPrefillParams::Heads& tensor) {
  constexpr long long kElements = 8;
  return reinterpret_cast<std::uintptr_t>(tensor.data) % 16 == 0 &&
         tensor.block_stride % kElements == 0 && tensor.token_stride % kElements == 0 &&
         tensor.head_stride % kElements == 0;
}

Answer can_serve_mma(const PrefillShape& shape, const void* params) {
  if (Answer answer = can_serve(shape, params); !answer) return answer;
  const AttentionPrefillParams& p = params_of(params);
  for (const auto& [name, tensor] : {std::pair{"q", &p.q}, std::pair{"k", &p.k},
                                     std::pair{"v", &p.v}, std::pair{"out", &p.out}}) {
    if (is_aligned(*tensor)) continue;
    return Answer::no(fmt::format("rows of {} do not begin at multiples of 16 bytes", name));
  }
  return Answer::yes();
}

Answer can_serve_wgmma(const PrefillShape& shape, const void* params) {
  if (Answer answer = can_serve_mma(shape, params); !answer) return answer;
  const AttentionPrefillParams& p = params_of(params);
  if (p.softcap != 0) return Answer::no("softcap: it has no place for it");
  if (p.mask) return Answer::no("mask: it has no place for it");
  if (!(p.scale > 0)) return Answer::no(fmt::format("scale is {}; it serves above 0", p.scale));
  return Answer::yes();
}

// Tiles of `rows` queries: the kernels' find_tile() knows each by its number.
std::int64_t tiles_of(const AttentionPrefillParams& p, int rows) {
  if (p.total_q == 0) return 0;
  if (p.cu_seqlens_q) return varlen_tile_count(p.total_q, p.batch, rows);
  return std::int64_t{p.batch} * ((p.q_len + std::int64_t{rows} - 1) / rows);
}

LaunchPlan plan_gpu(const PrefillShape& shape, const void* params, int rows) {
  const std::int64_t tiles = tiles_of(params_of(params), rows);
  if (tiles == 0) return {};
  LaunchStep step;
  step.dims.grid = {static_cast<std::uint32_t>(tiles), static_cast<std::uint32_t>(shape.q_heads),
                    1};
  step.dims.block = {128, 1, 1};
  step.dims.programmatic_dependent_launch = true;
  return {step};
}

LaunchPlan plan_plain(const PrefillShape& shape, const void* params) {
  return plan_gpu(shape, params, attention_prefill_rows(shape.d_qk, shape.d_vo));
}
LaunchPlan plan_mma(const PrefillShape& shape, const void* params) {
  return plan_gpu(shape, params, kAttentionPrefillMmaRows);
}

LaunchPlan plan_wgmma(const PrefillShape& shape, const void* params) {
  LaunchPlan plan = plan_gpu(shape, params, kAttentionPrefillWgmmaRows);
  if (plan.empty()) return plan;
  LaunchStep step = plan.front();
  step.dims.block.x = 384;
  step.dims.shared_bytes_dynamic = kAttentionPrefillWgmmaSharedBytes;
  return {step};
}

LaunchPlan plan_cpu(const PrefillShape& shape, const void* params) {
  const AttentionPrefillParams& p = params_of(params);
  const std::int64_t tiles = tiles_of(p, attention_prefill_cpu_queries(shape.group));
  if (tiles == 0) return {};
  const int head_groups = shape.q_heads / attention_prefill_cpu_heads(shape.group);
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
      ParamSpec{"paged",
                "whether keys and values lie in pages that a table names",
                ShapeValue(false),
                0,
                0,
                {}},
      ParamSpec{"variant",
                "what else becomes of the logits",
                ShapeValue(std::string("none")),
                0,
                0,
                {},
                true},
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
      ParamSpec{"dense",
                "[batch, tokens, heads, size] instead of packed sequences",
                ShapeValue(false),
                0,
                0,
                {}},
      integer("page_size", "with paged: tokens of a page", 16, 1),
      integer("window_left", "keys that a query sees before its own; -1: all", -1, -1),
      integer("window_right", "keys that a query sees behind its own; -1: all", -1, -1),
      integer("softcap", "bound of the logits, by tanh; 0: none", 0, 0),
      ParamSpec{"sinks", "whether each head has a sink logit", ShapeValue(false), 0, 0, {}},
      ParamSpec{"mask",
                "whether there is a bit mask, random, with rows that see nothing",
                ShapeValue(false),
                0,
                0,
                {}},
      ParamSpec{"lse", "whether the log-sum-exp is written too", ShapeValue(false), 0, 0, {}},
  };
}

}  // namespace

Op attention_prefill_op() {
  return Op{
      .name = "attention_prefill",
      .doc = "attention of sequences of queries over their keys and values, packed, dense or paged",
      .shape_params = shape_params(),
      .call_params = call_params(),
      .params_bytes = sizeof(AttentionPrefillParams),
      .implementations =
          {
              Implementation{
                  .name = "attention_prefill/wgmma",
                  .doc = "sm_90a: products of warpgroups (wgmma) beside copies and softmax",
                  .families = {ArchFamily::nvidia},
                  .can_build = can_build_wgmma,
                  .can_serve = can_serve_wgmma,
                  .plan = plan_wgmma,
                  .source = "attention_prefill/wgmma.cu",
                  .name_expressions = {"kiln::attention_prefill_wgmma"},
              },
              Implementation{
                  .name = "attention_prefill/mma",
                  .doc = "NVIDIA tensor cores (mma.sync): rows that begin at multiples of 16 bytes",
                  .families = {ArchFamily::nvidia},
                  .can_build = can_build_mma,
                  .can_serve = can_serve_mma,
                  .plan = plan_mma,
                  .source = "attention_prefill/mma.cu",
                  .name_expressions = {"kiln::attention_prefill_mma"},
              },
              Implementation{
                  .name = "attention_prefill/plain",
                  .doc = "GPU: ordinary arithmetic on tiles in shared memory; any head size",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .can_build = can_build_gpu,
                  .can_serve = can_serve,
                  .plan = plan_plain,
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
