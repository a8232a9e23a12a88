// SPDX-License-Identifier: Apache-2.0
#include "templates/ops/kda.h"

#include <fmt/format.h>

#include <cstdint>

namespace kiln {
namespace {

// A GPU's grid has 31 bits in x, and slices of V need a few of 32.
constexpr std::int64_t kStatesMax = std::int64_t{1} << 24;

int bytes_of(const std::string& type) {
  return type == "f32" ? 4 : 2;
}

// Whether all heads of all tokens begin at a multiple of `bytes`, a power of two: no division,
// which would take longer than all the rest.
bool rows_aligned(const KdaHeads& heads, int element_bytes, std::uint64_t bytes) {
  const auto strides =
      static_cast<std::uint64_t>(heads.sequence_stride | heads.token_stride | heads.head_stride);
  const std::uint64_t offsets = strides * static_cast<unsigned>(element_bytes);
  return ((reinterpret_cast<std::uintptr_t>(heads.data) | offsets) & (bytes - 1)) == 0;
}

// Whether no tensor is null that has elements.
Answer are_there(const KdaShape& shape, const KdaParams& p) {
  struct Tensor {
    const char* name;
    const void* data;
    bool empty;  // and so may have no data
  };
  const bool no_tokens = p.cu_seqlens != nullptr ? p.total == 0 : p.tokens == 0;
  for (const auto& [name, data, empty] :
       {Tensor{"q", p.q.data, no_tokens}, Tensor{"k", p.k.data, no_tokens},
        Tensor{"v", p.v.data, no_tokens}, Tensor{"a", p.a.data, no_tokens},
        Tensor{"b", p.b.data, no_tokens}, Tensor{"out", p.out.data, no_tokens},
        Tensor{"a_log", p.a_log, !shape.has_rate},
        Tensor{"state", p.state.data, p.state.slots == 0}, Tensor{"slots", p.slots, false}}) {
    if (!data && !empty) return Answer::no(fmt::format("{} is null", name));
  }
  return Answer::yes();
}

}  // namespace

std::vector<ParamSpec> kda_shape_params() {
  const auto integer = [](const char* name, const char* doc, std::int64_t value) {
    return ParamSpec{name, doc, ShapeValue(value), 1, 1024, {}};
  };
  const auto word = [](const char* name, const char* doc, std::vector<std::string> choices) {
    return ParamSpec{name, doc, ShapeValue(choices.front()), 0, 0, choices};
  };
  return {
      integer("H", "query and key heads", 32),
      integer("HV", "value heads, a multiple of H", 32),
      integer("K", "elements of a query or key head", 128),
      integer("V", "elements of a value head", 128),
      word("gate", "how a becomes the decay", {"softplus", "lower_bound", "precomputed", "scalar"}),
      word("beta", "what b is: beta's logit, that of half of it, or beta",
           {"logit", "doubled", "given"}),
      word("io", "type of q, k, v and out", {"bf16", "f16", "f32"}),
      word("gate_io", "type of a and b", {"bf16", "f16", "f32"}),
      word("state", "type of the state", {"f32", "bf16"}),
      word("layout", "the state's matrix, outer dimension first", {"VK", "KV"}),
      ParamSpec{"qk_l2norm", "whether q and k are normalised", ShapeValue(true), 0, 0, {}},
  };
}

KdaShape::KdaShape(const Shape& shape)
    : heads(shape.integer("H")),
      value_heads(shape.integer("HV")),
      k(static_cast<int>(shape.integer("K"))),
      v(static_cast<int>(shape.integer("V"))),
      vk(shape.word("layout") == "VK"),
      state_bytes(bytes_of(shape.word("state"))),
      io_bytes(bytes_of(shape.word("io"))),
      gate_io_bytes(bytes_of(shape.word("gate_io"))),
      has_rate(shape.word("gate") == "softplus" || shape.word("gate") == "scalar"),
      scalar_gate(shape.word("gate") == "scalar") {}

Answer can_build_kda(const Shape& shape, const Arch& arch) {
  if (arch.family() == ArchFamily::nvidia && arch.sm() < 80) {
    return Answer::no(fmt::format("{} is older than sm_80", arch.name()));
  }
  for (const char* name : {"K", "V"}) {
    const std::int64_t size = shape.integer(name);
    if (size == 64 || size == 128 || size == 256) continue;
    return Answer::no(fmt::format("{}={}: built are 64, 128 and 256", name, size));
  }
  const std::int64_t heads = shape.integer("H");
  const std::int64_t value_heads = shape.integer("HV");
  if (value_heads % heads != 0) {
    return Answer::no(fmt::format(
        "HV={} is not a multiple of H={}: each query/key head serves as many value heads",
        value_heads, heads));
  }
  return Answer::yes();
}

Answer can_serve_kda(const KdaShape& shape, const KdaParams& p) {
  if (p.batch < 0) return Answer::no(fmt::format("batch is {}", p.batch));
  if (p.tokens < 0) return Answer::no(fmt::format("tokens is {}", p.tokens));
  if (p.total < 0) return Answer::no(fmt::format("total is {}", p.total));
  if (kda_states(shape, p) > kStatesMax) {
    return Answer::no(fmt::format("{} sequences of {} heads are more than {} states in one call",
                                  p.batch, shape.value_heads, kStatesMax));
  }
  if (p.state.slots < 0) return Answer::no(fmt::format("pool is {}", p.state.slots));
  if (p.slot_bytes != 4 && p.slot_bytes != 8) {
    return Answer::no(fmt::format("slot_bytes is {}; slots have 4 or 8 bytes", p.slot_bytes));
  }
  const bool all_there = p.q.data && p.k.data && p.v.data && p.a.data && p.b.data && p.out.data &&
                         p.a_log && p.state.data && p.slots;
  if (all_there || p.batch == 0) return Answer::yes();
  return are_there(shape, p);
}

Answer is_aligned_kda(const KdaShape& shape, const KdaParams& p) {
  const long long vector = 16 / shape.state_bytes;
  const auto address = [](const void* data) { return reinterpret_cast<std::intptr_t>(data); };
  if (address(p.state.data) % 16 != 0) {
    return Answer::quick_no("a row of the state is not 16-byte aligned (at {:#x})",
                            address(p.state.data));
  }
  if (((p.state.slot_stride | p.state.head_stride) & (vector - 1)) != 0) {
    return Answer::quick_no(
        "a row of the state is not 16-byte aligned (slot stride {}, head stride {} elements)",
        p.state.slot_stride, p.state.head_stride);
  }
  struct Row {
    const char* name;
    const KdaHeads& heads;
    int element_bytes;
    bool vector;
  };
  for (const Row& row : {Row{"q", p.q, shape.io_bytes, true}, Row{"k", p.k, shape.io_bytes, true},
                         Row{"a", p.a, shape.gate_io_bytes, !shape.scalar_gate}}) {
    const int bytes = 4 * row.element_bytes;
    if (!row.vector || rows_aligned(row.heads, row.element_bytes, static_cast<unsigned>(bytes))) {
      continue;
    }
    return Answer::quick_no("rows of {} are not all {}-byte aligned", row.name, bytes);
  }
  if (address(p.dt_bias) % 16 != 0 && !shape.scalar_gate) {
    return Answer::quick_no("dt_bias is not 16-byte aligned (at {:#x})", address(p.dt_bias));
  }
  return Answer::yes();
}

std::int64_t kda_states(const KdaShape& shape, const KdaParams& params) {
  return params.batch * shape.value_heads;
}

}  // namespace kiln
