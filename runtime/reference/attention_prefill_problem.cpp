// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_prefill_problem.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "runtime/reference/elements.h"
#include "runtime/reference/sequence_lengths.h"

namespace kiln {
namespace {

constexpr std::int32_t kGarbagePage = 2147480000;
constexpr std::int64_t kDocument = 5;  // tokens of a document

std::uint16_t nan_of(ElementType type) {
  return type == ElementType::bf16 ? 0x7fc0 : 0x7e00;
}

std::int64_t sum_of(const std::vector<std::int64_t>& lengths, std::int64_t more) {
  return std::accumulate(lengths.begin(), lengths.end(), more);
}
std::int64_t longest_of(const std::vector<std::int64_t>& lengths) {
  return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

void set_lengths(AttentionPrefillSizes& sizes, const Shape& call, Random& random) {
  const std::int64_t batch = call.integer("batch");
  const bool ragged = call.flag("ragged");
  sizes.q_len = call.integer("q_len");
  sizes.kv_len = call.integer("kv_len") < 0 ? sizes.q_len : call.integer("kv_len");
  sizes.q_lengths = sequence_lengths(batch, sizes.q_len, ragged && !sizes.dense, random);
  sizes.kv_lengths = sequence_lengths(batch, sizes.kv_len, ragged, random);
  // Against a q_len of nothing and one, any number of keys.
  if (ragged) {
    std::rotate(sizes.kv_lengths.begin(), sizes.kv_lengths.begin() + batch / 2,
                sizes.kv_lengths.end());
  }
  const std::int64_t of_no_sequence = ragged ? 3 : 0;
  sizes.kv_stride = longest_of(sizes.kv_lengths);
  sizes.total_q = sum_of(sizes.q_lengths, sizes.dense ? 0 : of_no_sequence);
  sizes.total_kv = sizes.dense ? batch * sizes.kv_len : sum_of(sizes.kv_lengths, of_no_sequence);
  if (!sizes.paged) return;
  sizes.page_size = call.integer("page_size");
  sizes.pages_max = sizes.kv_stride / sizes.page_size + 1;
  sizes.pages = batch * sizes.pages_max + 1;
  sizes.kv_len = sizes.pages_max * sizes.page_size;
  sizes.total_kv = sizes.pages * sizes.page_size;
}

}  // namespace

AttentionPrefillSizes AttentionPrefillSizes::of(const OpArguments& arguments, Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  AttentionPrefillSizes sizes{};
  sizes.q_heads = shape.integer("Hq");
  sizes.kv_heads = shape.integer("Hkv");
  sizes.d_qk = shape.integer("D_qk");
  sizes.d_vo = shape.integer("D_vo");
  sizes.paged = shape.flag("paged");
  sizes.dense = call.flag("dense");
  sizes.io = float_type_of(shape.word("io"));
  sizes.variant = shape.word("variant");
  sizes.rule.scale = 1 / std::sqrt(static_cast<double>(sizes.d_qk));
  sizes.rule.causal = shape.flag("causal");
  sizes.rule.window_left = call.integer("window_left");
  sizes.rule.window_right = call.integer("window_right");
  sizes.rule.softcap = static_cast<double>(call.integer("softcap"));
  sizes.rule.softmax = sizes.variant != "sigmoid";
  set_lengths(sizes, call, random);
  if (!call.flag("mask")) return sizes;
  for (std::size_t n = 0; n < sizes.q_lengths.size(); ++n) {
    sizes.mask_offsets.push_back(sizes.mask_bytes);
    sizes.mask_bytes += (sizes.q_lengths[n] * sizes.kv_lengths[n] + 7) / 8 + 1;
  }
  return sizes;
}

std::int64_t AttentionPrefillSizes::q_row(std::size_t n, std::int64_t i) const {
  if (dense) return static_cast<std::int64_t>(n) * q_len + i;
  return std::accumulate(q_lengths.begin(), q_lengths.begin() + static_cast<std::ptrdiff_t>(n), i);
}

double AttentionPrefillSizes::products() const {
  double pairs = 0;
  for (std::size_t n = 0; n < q_lengths.size(); ++n) {
    for (std::int64_t i = 0; i < q_lengths[n]; ++i) {
      const std::int64_t aligned = i + kv_lengths[n] - q_lengths[n];
      const std::int64_t right = rule.causal ? 0 : rule.window_right;
      const std::int64_t end =
          right < 0 ? kv_lengths[n]
                    : std::clamp<std::int64_t>(aligned + right + 1, 0, kv_lengths[n]);
      const std::int64_t first =
          rule.window_left < 0 ? 0 : std::clamp<std::int64_t>(aligned - rule.window_left, 0, end);
      pairs += static_cast<double>(end - first);
    }
  }
  return pairs * static_cast<double>(q_heads) * static_cast<double>(d_qk + d_vo);
}

Result<AttentionPrefillTensors> AttentionPrefillTensors::create(const TrialSite& site,
                                                                const AttentionPrefillSizes& sizes,
                                                                const OpArguments& arguments) {
  using enum ElementType;
  using Dims = std::vector<std::int64_t>;
  const auto create = [&](ElementType type, Dims shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const std::int64_t batch = sizes.sequences();
  const auto tensor_dims = [&](bool q, Dims heads) {
    Dims dims = q && sizes.dense ? Dims{batch, sizes.q_len}
                : q              ? Dims{sizes.total_q}
                : sizes.paged    ? Dims{sizes.pages, sizes.page_size}
                : sizes.dense    ? Dims{batch, sizes.kv_len}
                                 : Dims{sizes.total_kv};
    dims.insert(dims.end(), heads.begin(), heads.end());
    return dims;
  };
  KILN_TRY_ASSIGN(TrialTensor q, create(sizes.io, tensor_dims(true, {sizes.q_heads, sizes.d_qk})));
  KILN_TRY_ASSIGN(TrialTensor k,
                  create(sizes.io, tensor_dims(false, {sizes.kv_heads, sizes.d_qk})));
  KILN_TRY_ASSIGN(TrialTensor v,
                  create(sizes.io, tensor_dims(false, {sizes.kv_heads, sizes.d_vo})));
  KILN_TRY_ASSIGN(TrialTensor out,
                  create(sizes.io, tensor_dims(true, {sizes.q_heads, sizes.d_vo})));
  AttentionPrefillTensors tensors{std::move(q), std::move(k),
                                  std::move(v), std::move(out),
                                  {},           {},
                                  {},           {},
                                  {},           {},
                                  {},           {},
                                  {},           {}};
  if (!sizes.dense) {
    KILN_TRY_ASSIGN(tensors.starts_q, create(i32, {batch + 1}));
  }
  if (!sizes.dense && !sizes.paged) {
    KILN_TRY_ASSIGN(tensors.starts_kv, create(i32, {batch + 1}));
  }
  if (sizes.dense || sizes.paged) {
    KILN_TRY_ASSIGN(tensors.kv_lens, create(i32, {batch}));
  }
  if (sizes.paged) {
    KILN_TRY_ASSIGN(tensors.block_table, create(i32, {batch, sizes.pages_max}));
  }
  if (arguments.call.flag("lse") && sizes.rule.softmax) {
    KILN_TRY_ASSIGN(tensors.lse, create(f32, tensor_dims(true, {sizes.q_heads})));
  }
  if (arguments.call.flag("sinks") && sizes.rule.softmax) {
    KILN_TRY_ASSIGN(tensors.sinks, create(f32, {sizes.q_heads}));
  }
  if (arguments.call.flag("mask")) {
    KILN_TRY_ASSIGN(tensors.mask, create(u8, {sizes.mask_bytes}));
    KILN_TRY_ASSIGN(tensors.mask_offsets, create(i64, {batch}));
  }
  std::vector<std::pair<ElementType, Dims>> wanted;
  if (sizes.variant == "sink") wanted = {{f32, {sizes.q_heads}}};
  if (sizes.variant == "document") {
    const std::int64_t key_rows = sizes.paged ? batch * sizes.kv_len : sizes.total_kv;
    wanted = {{i32, {sizes.total_q}}, {i32, {key_rows}}};
  }
  if (sizes.variant == "logits_dump") {
    wanted = {{f32, {sizes.total_q, sizes.q_heads, sizes.kv_stride}}};
    tensors.variant_scalars = {static_cast<double>(sizes.kv_stride)};
  }
  if (sizes.variant == "sigmoid") tensors.variant_scalars = {-1.5};
  for (auto& [type, dims] : wanted) {
    KILN_TRY_ASSIGN(TrialTensor tensor, create(type, std::move(dims)));
    tensors.variant.push_back(std::move(tensor));
  }
  return tensors;
}

void AttentionPrefillTensors::fill(const AttentionPrefillSizes& sizes, Random& random) {
  q.fill([&] { return random.uniform(-6, 6); });
  for (TrialTensor* tensor : {&k, &v}) tensor->fill([&] { return random.uniform(-1, 1); });
  const auto copy = [](const auto& from, std::optional<TrialTensor>& to) {
    if (!to) return;
    std::copy(from.begin(), from.end(), to->host_as<std::int32_t>());
  };
  copy(starts_of(sizes.q_lengths), starts_q);
  copy(starts_of(sizes.kv_lengths), starts_kv);
  copy(sizes.kv_lengths, kv_lens);
  if (block_table) {
    auto* table = block_table->host_as<std::int32_t>();
    std::fill_n(table, block_table->count(), kGarbagePage);
    for (std::size_t n = 0; n < sizes.kv_lengths.size(); ++n) {
      for (std::int64_t j = 0; j * sizes.page_size < sizes.kv_lengths[n]; ++j) {
        const std::int64_t number = static_cast<std::int64_t>(n) * sizes.pages_max + j;
        table[number] = static_cast<std::int32_t>(sizes.pages - 1 - number);
      }
    }
  }
  std::vector<bool> used_q(static_cast<std::size_t>(sizes.total_q));
  std::vector<bool> used_kv(static_cast<std::size_t>(sizes.total_kv));
  for (std::size_t n = 0; n < sizes.q_lengths.size(); ++n) {
    for (std::int64_t i = 0; i < sizes.q_lengths[n]; ++i) {
      used_q[static_cast<std::size_t>(sizes.q_row(n, i))] = true;
    }
    for (std::int64_t j = 0; j < sizes.kv_lengths[n]; ++j) {
      used_kv[static_cast<std::size_t>(key_row(sizes, n, j))] = true;
    }
  }
  const auto spoil = [&](TrialTensor& tensor, const std::vector<bool>& used) {
    if (used.empty()) return;
    const std::int64_t size = tensor.count() / static_cast<std::int64_t>(used.size());
    for (std::size_t row = 0; row < used.size(); ++row) {
      if (used[row]) continue;
      std::fill_n(tensor.host_as<std::uint16_t>() + static_cast<std::int64_t>(row) * size, size,
                  nan_of(sizes.io));
    }
  };
  spoil(q, used_q);
  spoil(k, used_kv);
  spoil(v, used_kv);
  if (sinks) sinks->fill([&] { return random.uniform(-2, 2); });
  if (mask) {
    // Two bits in three, and no bit of some bytes.
    mask->fill([&] {
      const std::uint64_t bits = random.next();
      return static_cast<float>(bits % 16 == 0 ? 0 : (bits >> 8 | bits >> 16) & 255);
    });
    std::copy(sizes.mask_offsets.begin(), sizes.mask_offsets.end(),
              mask_offsets->host_as<std::int64_t>());
  }
  if (sizes.variant == "sink") variant[0].fill([&] { return random.uniform(-2, 2); });
  if (sizes.variant == "document") {
    for (TrialTensor& documents : variant) {
      std::int64_t row = 0;
      documents.fill([&] { return static_cast<float>(row++ / kDocument); });
    }
  }
}

Result<void> AttentionPrefillTensors::upload(Driver& driver) {
  for (TrialTensor* tensor : {&q, &k, &v}) KILN_TRY(tensor->upload(driver));
  for (auto* tensor :
       {&starts_q, &starts_kv, &kv_lens, &block_table, &sinks, &mask, &mask_offsets}) {
    if (*tensor) KILN_TRY((*tensor)->upload(driver));
  }
  for (TrialTensor& tensor : variant) KILN_TRY(tensor.upload(driver));
  return {};
}

std::int64_t AttentionPrefillTensors::key_row(const AttentionPrefillSizes& sizes, std::size_t n,
                                              std::int64_t j) const {
  const auto sequence = static_cast<std::int64_t>(n);
  if (sizes.paged) {
    const std::int32_t page =
        block_table->host_as<std::int32_t>()[sequence * sizes.pages_max + j / sizes.page_size];
    return page * sizes.page_size + j % sizes.page_size;
  }
  if (sizes.dense) return sequence * sizes.kv_len + j;
  return std::accumulate(sizes.kv_lengths.begin(), sizes.kv_lengths.begin() + sequence, j);
}

reference::AttentionRule AttentionPrefillTensors::rule_of(const AttentionPrefillSizes& sizes,
                                                          std::size_t n, std::int64_t i,
                                                          std::int64_t head) const {
  reference::AttentionRule rule = sizes.rule;
  if (sinks) rule.sink = sinks->host_as<float>()[head];
  if (mask) {
    const std::int64_t first = sizes.mask_offsets[n] * 8 + i * sizes.kv_lengths[n];
    const auto* bytes = mask->host_as<std::uint8_t>();
    rule.sees = [=](std::int64_t j) {
      return (bytes[(first + j) / 8] >> (first + j) % 8 & 1) != 0;
    };
  }
  if (sizes.variant == "sink") {
    const double own = variant[0].host_as<float>()[head];
    rule.sink = rule.sink ? std::log(std::exp(*rule.sink) + std::exp(own)) : own;
  }
  if (sizes.variant == "document") {
    const std::int64_t document = sizes.q_row(n, i) / kDocument;
    const std::int64_t first =
        sizes.paged ? static_cast<std::int64_t>(n) * sizes.kv_len : key_row(sizes, n, 0);
    rule.sees = [before = rule.sees, first, document](std::int64_t j) {
      return (!before || before(j)) && (first + j) / kDocument == document;
    };
  }
  if (sizes.variant == "sigmoid") {
    const double bias = variant_scalars[0];
    rule.transform = [bias](std::int64_t, double logit) {
      return 1 / (1 + std::exp(-(logit + bias)));
    };
  }
  return rule;
}

}  // namespace kiln
