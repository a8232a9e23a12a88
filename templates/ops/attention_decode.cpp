// SPDX-License-Identifier: Apache-2.0
// The op attention_decode: a few query tokens per sequence over a paged key/value cache.
#include <fmt/format.h>

#include <initializer_list>
#include <limits>

#include "templates/kernels/attention_decode/latent_tiles.h"
#include "templates/kernels/attention_decode/matrix_rows.h"
#include "templates/kernels/attention_decode/params.h"
#include "templates/kernels/attention_decode/splits.h"
#include "templates/ops/attention_decode.h"
#include "templates/ops/ops.h"

namespace kiln {
namespace {

// Rows (query heads of query tokens) that one block of the GPU and one work item of the CPU take at
// most, as their sources do. On the GPU they are heads of one token's, in equal parts.
constexpr int kGpuHeadsMax = 8;
constexpr int kCpuRowsMax = 32;
// Elements of a key and a value of which the matrix kernel holds tiles in registers.
constexpr int kMatrixSizeMax = 512;

const AttentionDecodeParams& params_of(const void* params) {
  return *static_cast<const AttentionDecodeParams*>(params);
}

Answer can_build_common(const Shape& shape) {
  const std::int64_t d_qk = shape.integer("D_qk");
  const std::int64_t d_vo = shape.integer("D_vo");
  if (d_qk % 16 != 0) {
    return Answer::no(fmt::format("D_qk={} is not a multiple of 16", d_qk));
  }
  if (d_vo % 16 != 0 || d_vo > 512) {
    return Answer::no(fmt::format("D_vo={} is not a multiple of 16 up to 512", d_vo));
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

int group_of(const Shape& shape) {
  return static_cast<int>(shape.integer("Hq") / shape.integer("Hkv"));
}

// Whether the arch has the matrix instructions that the dialect knows.
Answer has_matrix(const Arch& arch, bool f16) {
  if (arch.family() == ArchFamily::nvidia) return Answer::yes();
  const bool mfma = arch.family() == ArchFamily::amd || arch.has_feature(":warp64");
  if (mfma && f16) return Answer::no("f16 is multiplied on NVIDIA alone; here bf16 is");
  if (arch.family() == ArchFamily::simt) return Answer::yes();
  for (const char* known : {"gfx90a", "gfx942", "gfx950"}) {
    if (arch.base() == known) return Answer::yes();
  }
  return Answer::no(
      fmt::format("{} has no MFMA on bf16; gfx90a, gfx942 and gfx950 have", arch.base()));
}

bool is_fp8(const std::string& kv) {
  return kv == "e4m3" || kv == "e5m2";
}

Answer has_values(const Shape& shape) {
  if (!shape.flag("v_in_k")) return Answer::yes();
  return Answer::no("values in the keys are attention_decode/latent's");
}
Answer has_values_in_keys(const Shape& shape) {
  if (shape.flag("v_in_k")) return Answer::yes();
  return Answer::no("it is for values in the keys (v_in_k)");
}

Answer has_no_variant(const Shape& shape) {
  const std::string& variant = shape.word("variant");
  if (variant == "none") return Answer::yes();
  return Answer::no(fmt::format("variant={}: it has no place for variants", variant));
}

Answer can_build_matrix(const Shape& shape, const Arch& arch) {
  if (const Answer answer = can_build_gpu(shape, arch); !answer) return answer;
  if (const Answer answer = has_no_variant(shape); !answer) return answer;
  const std::string& io = shape.word("io");
  const std::string& kv = shape.word("kv");
  if ((io != "bf16" && io != "f16") || (io != kv && !is_fp8(kv))) {
    return Answer::no(
        fmt::format("io={} kv={}; it multiplies bf16 or f16 with its like or fp8", io, kv));
  }
  if (const Answer answer = has_matrix(arch, io == "f16" || is_fp8(kv)); !answer) return answer;
  const std::int64_t size = shape.integer("D_qk") + shape.integer("D_vo");
  if (size <= kMatrixSizeMax) return Answer::yes();
  return Answer::no(
      fmt::format("D_qk + D_vo is {}; registers hold tiles of up to {}", size, kMatrixSizeMax));
}

Answer can_build_latent(const Shape& shape, const Arch& arch) {
  if (const Answer answer = can_build_gpu(shape, arch); !answer) return answer;
  if (const Answer answer = has_no_variant(shape); !answer) return answer;
  const std::string& io = shape.word("io");
  if (io != shape.word("kv") || (io != "bf16" && io != "f16")) {
    return Answer::no(
        fmt::format("io={} kv={}; it multiplies bf16 or f16 of one type", io, shape.word("kv")));
  }
  if (const Answer answer = has_matrix(arch, io == "f16"); !answer) return answer;
  const int bytes =
      attention_decode_latent_bytes(group_of(shape), static_cast<int>(shape.integer("D_qk")));
  if (bytes <= 48 << 10) return Answer::yes();
  return Answer::no(fmt::format("its steps need {} bytes of shared memory; it takes 49152", bytes));
}

Answer can_build_cpu(const Shape& shape, const Arch&) {
  return can_build_common(shape);
}

// What calls need of a shape.
struct CallShape {
  explicit CallShape(const Shape& shape)
      : q_heads(shape.integer("Hq")),
        kv_heads(shape.integer("Hkv")),
        group(group_of(shape)),
        d_qk(static_cast<int>(shape.integer("D_qk"))),
        d_vo(static_cast<int>(shape.integer("D_vo"))),
        kv_bytes(is_fp8(shape.word("kv")) ? 1 : 2),
        softcap(shape.flag("softcap")) {}

  std::int64_t q_heads, kv_heads;
  int group;
  int d_qk, d_vo;
  int kv_bytes;
  bool softcap;
};

int rows_of_kv_head(const CallShape& shape, const AttentionDecodeParams& p) {
  return p.q_tokens * shape.group;
}

Answer can_serve_splits(const AttentionDecodeParams& p) {
  if (p.splits < 1 || p.splits > kAttentionDecodeSplitsMax) {
    return Answer::no(
        fmt::format("splits is {}; 1 to {} are done", p.splits, kAttentionDecodeSplitsMax));
  }
  if (p.split_tokens < 0 || p.split_tokens % kAttentionDecodeSplitStep != 0) {
    return Answer::no(fmt::format("split_tokens is {}; it takes multiples of {}", p.split_tokens,
                                  kAttentionDecodeSplitStep));
  }
  if (p.split_tokens == 0) return Answer::yes();
  const std::int64_t tokens = attention_decode_tokens_max(std::int64_t{p.pages_max} * p.page_size,
                                                          p.q_tokens, p.window_left);
  if (std::int64_t{p.splits} * p.split_tokens >= tokens) return Answer::yes();
  return Answer::no(
      fmt::format("{} splits of {} tokens do not hold the {} that a sequence may have", p.splits,
                  p.split_tokens, tokens));
}

Answer can_serve_sizes(const CallShape& shape, const AttentionDecodeParams& p) {
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  if (p.q_tokens < 1) return Answer::no(fmt::format("q_tokens is {}", p.q_tokens));
  if (p.page_size < 1) return Answer::no(fmt::format("page_size is {}", p.page_size));
  if (p.pages_max < 0) return Answer::no(fmt::format("pages_max is {}", p.pages_max));
  constexpr std::int64_t kTokensMax = 1 << 30;
  if (std::int64_t{p.pages_max} * p.page_size > kTokensMax) {
    return Answer::no(fmt::format("a sequence may have {} pages of {} tokens; at most {} tokens",
                                  p.pages_max, p.page_size, kTokensMax));
  }
  if (const Answer answer = can_serve_splits(p); !answer) return answer;
  // Blocks and work items are counted in 32 bits.
  const std::int64_t rows_max = std::numeric_limits<std::int32_t>::max() / p.splits;
  const std::int64_t heads = shape.q_heads;
  if (p.q_tokens > rows_max / heads || p.batch > rows_max / (heads * p.q_tokens)) {
    return Answer::no(
        fmt::format("batch {} times {} tokens times Hq={} times {} splits is above {}", p.batch,
                    p.q_tokens, heads, p.splits, std::numeric_limits<std::int32_t>::max()));
  }
  if (shape.softcap && !(p.softcap > 0)) {
    return Answer::no(fmt::format("softcap is {}", p.softcap));
  }
  return Answer::yes();
}

Answer can_serve(const CallShape& shape, const void* params) {
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
        Tensor{"v", p.v.data, no_tokens}, Tensor{"block_table", p.pages, no_tokens},
        Tensor{"seq_lens", p.lengths, false}, Tensor{"out", p.out.data, false},
        Tensor{"workspace", p.workspace, p.splits == 1}}) {
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

// Loads and copies are of 16 bytes.
Answer can_serve_matrix(const CallShape& shape, const void* params) {
  if (const Answer answer = can_serve(shape, params); !answer) return answer;
  const AttentionDecodeParams& p = params_of(params);
  for (const auto& [name, cache] : {std::pair{"k", &p.k}, std::pair{"v", &p.v}}) {
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(cache->data) % 16 == 0 &&
        (cache->page_stride | cache->token_stride | cache->head_stride) * shape.kv_bytes % 16 == 0;
    if (!aligned) return Answer::no(fmt::format("rows of {} are not aligned to 16 bytes", name));
  }
  return Answer::yes();
}

// A tile has room for 16 rows; with fewer than 4 there is less to do without it.
Answer is_best_latent(const CallShape& shape, const void* params) {
  const int rows = rows_of_kv_head(shape, params_of(params));
  if (rows >= 4) return Answer::yes();
  return Answer::no(fmt::format("{} rows share a key; from 4 on they fill enough of a tile", rows));
}

// The second of two steps, where there are partial results to put together; else null.
LaunchStep* add_merge(LaunchPlan& plan, const CallShape& shape, const AttentionDecodeParams& p) {
  if (p.splits == 1) return nullptr;
  LaunchStep& merge = plan.add();
  merge.entry = 1;
  merge.dims.grid.x = static_cast<std::uint32_t>(p.batch * p.q_tokens * shape.q_heads);
  return &merge;
}

// Blocks for each split, where one takes `tile_rows` of the rows that share a key/value head.
std::uint32_t blocks_of(const CallShape& shape, const AttentionDecodeParams& p, int tile_rows) {
  const int tiles = (rows_of_kv_head(shape, p) + tile_rows - 1) / tile_rows;
  return static_cast<std::uint32_t>(p.batch * shape.kv_heads * tiles);
}

LaunchPlan gpu_plan_of(const CallShape& shape, const AttentionDecodeParams& p, int tile_rows,
                       std::uint32_t threads) {
  LaunchPlan plan;
  LaunchStep& split = plan.add();
  split.dims.grid.x = blocks_of(shape, p, tile_rows);
  split.dims.grid.y = static_cast<std::uint32_t>(p.splits);
  split.dims.block.x = threads;
  split.dims.programmatic_dependent_launch = true;
  if (LaunchStep* const merge = add_merge(plan, shape, p)) {
    merge->dims.block.x = 128;
    merge->dims.programmatic_dependent_launch = true;
  }
  return plan;
}

LaunchPlan plan_gpu(const CallShape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  return gpu_plan_of(shape, p, attention_decode_tile_rows(shape.group, kGpuHeadsMax), 128);
}

LaunchPlan plan_matrix(const CallShape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  return gpu_plan_of(shape, p, attention_decode_matrix_rows(shape.group, shape.d_qk, shape.d_vo),
                     128);
}

LaunchPlan plan_latent(const CallShape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  const int tiles = attention_decode_latent_row_tiles(shape.group);
  return gpu_plan_of(shape, p, 16 * tiles, 128 * static_cast<std::uint32_t>(tiles));
}

LaunchPlan plan_cpu(const CallShape& shape, const void* params) {
  const AttentionDecodeParams& p = params_of(params);
  if (p.batch == 0) return {};
  const int rows = rows_of_kv_head(shape, p);
  LaunchPlan plan;
  plan.add().dims.grid.x = blocks_of(shape, p, attention_decode_tile_rows(rows, kCpuRowsMax)) *
                           static_cast<std::uint32_t>(p.splits);
  add_merge(plan, shape, p);
  return plan;
}

}  // namespace

Op attention_decode_op() {
  return Op{
      .name = "attention_decode",
      .doc = "attention of a few query tokens per sequence over a paged cache: MHA, GQA, MQA, MLA",
      .shape_params = attention_decode_shape_params(),
      .call_params = attention_decode_call_params(),
      .params_bytes = sizeof(AttentionDecodeParams),
      .implementations =
          {
              Implementation{
                  .name = "attention_decode/matrix",
                  .doc = "GPU: matrix instructions on registers; splits are merged by a second "
                         "launch",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .is_meant_for = has_values,
                  .can_build = can_build_matrix,
                  .can_serve = can_serve_matrix,
                  .plan = plan_matrix,
                  .source = "attention_decode/matrix.cu",
                  .name_expressions = {"kiln::attention_decode_matrix",
                                       "kiln::attention_decode_merge"},
              },
              Implementation{
                  .name = "attention_decode/latent",
                  .doc = "GPU: matrix instructions for values in the keys (MLA), 4 or more rows "
                         "(query heads of query tokens); splits are merged by a second launch",
                  .families = {ArchFamily::nvidia, ArchFamily::amd},
                  .is_meant_for = has_values_in_keys,
                  .can_build = can_build_latent,
                  .can_serve = can_serve_matrix,
                  .is_best = is_best_latent,
                  .plan = plan_latent,
                  .source = "attention_decode/latent.cu",
                  .name_expressions = {"kiln::attention_decode_latent",
                                       "kiln::attention_decode_merge"},
              },
              Implementation{
                  .name = "attention_decode/split_kv",
                  .doc = "GPU: plain arithmetic units, every type; heads of a group share each key "
                         "and value; splits are merged by a second launch",
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
