// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/attention_decode_problem.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "runtime/reference/elements.h"

namespace kiln {
namespace {

// What no kernel may use as a page number. Bytes of NaN in every type that a cache may have: 0x7f.
constexpr std::int32_t kGarbagePage = 0x7ffffff0;
constexpr int kNanByte = 0x7f;

// Neighbouring keys of one document.
constexpr std::int64_t kDocument = 20;

// Pages of [page_size, Hkv, width], or with heads outside.
std::vector<std::int64_t> cache_shape(const AttentionDecodeSizes& sizes, std::int64_t width) {
  if (sizes.hnd) return {sizes.pages(), sizes.kv_heads, sizes.page_size, width};
  return {sizes.pages(), sizes.page_size, sizes.kv_heads, width};
}

// What the expressions of the shipped variants name.
Result<void> create_variant(AttentionDecodeTensors& tensors, const TrialSite& site,
                            const AttentionDecodeSizes& sizes) {
  using enum ElementType;
  const auto add = [&](ElementType type, std::vector<std::int64_t> shape) -> Result<void> {
    KILN_TRY_ASSIGN(TrialTensor tensor,
                    TrialTensor::create(*site.driver, site.device, type, std::move(shape)));
    tensors.variant.push_back(std::move(tensor));
    return {};
  };
  const std::int64_t places = sizes.pages_max() * sizes.page_size;  // of a sequence
  if (sizes.variant == "sigmoid") tensors.variant_scalars = {-0.5};
  if (sizes.variant == "sink") return add(f32, {sizes.q_heads});
  if (sizes.variant == "document") {
    KILN_TRY(add(i32, {sizes.batch * sizes.q_tokens}));
    return add(i32, {sizes.batch * places});
  }
  if (sizes.variant == "logits_dump") {
    tensors.variant_scalars = {static_cast<double>(places)};
    return add(f32, {sizes.batch * sizes.q_tokens, sizes.q_heads, places});
  }
  return {};
}

// Lengths, and pages in random order, by table and compressed; what lies behind a sequence's end is
// poison.
void fill_table(AttentionDecodeTensors& tensors, const AttentionDecodeSizes& sizes,
                Random& random) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(sizes.pages()));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[random.next() % (i + 1)]);
  }
  auto* lengths = tensors.seq_lens.host_as<std::int32_t>();
  auto* table = tensors.block_table.host_as<std::int32_t>();
  auto* indptr = tensors.indptr.host_as<std::int32_t>();
  auto* indices = tensors.indices.host_as<std::int32_t>();
  auto* last = tensors.last_page_lens.host_as<std::int32_t>();
  std::fill_n(indices, tensors.indices.count(), kGarbagePage);
  indptr[0] = 0;
  const auto choices = static_cast<std::uint64_t>(sizes.length + 1);
  for (std::int64_t n = 0; n < sizes.batch; ++n) {
    lengths[n] = static_cast<std::int32_t>(sizes.ragged ? random.next() % choices : choices - 1);
    const std::int64_t used = (lengths[n] + sizes.page_size - 1) / sizes.page_size;
    for (std::int64_t i = 0; i < sizes.pages_max(); ++i) {
      const std::int64_t at = n * sizes.pages_max() + i;
      table[at] = i < used ? order[static_cast<std::size_t>(at)] : kGarbagePage;
      if (i < used) indices[indptr[n] + i] = table[at];
    }
    indptr[n + 1] = static_cast<std::int32_t>(indptr[n] + used);
    last[n] = static_cast<std::int32_t>(lengths[n] -
                                        std::max<std::int64_t>(0, used - 1) * sizes.page_size);
  }
}

// NaN in every slot that holds no token of a sequence.
void poison_unused(TrialTensor& cache, const AttentionDecodeTensors& tensors,
                   const AttentionDecodeSizes& sizes, std::int64_t width) {
  std::vector<std::int64_t> used(static_cast<std::size_t>(sizes.pages()));  // slots of each page
  for (std::int64_t n = 0; n < sizes.batch; ++n) {
    const std::int64_t length = tensors.seq_lens.host_as<std::int32_t>()[n];
    for (std::int64_t i = 0; i * sizes.page_size < length; ++i) {
      const auto page = tensors.block_table.host_as<std::int32_t>()[n * sizes.pages_max() + i];
      used[static_cast<std::size_t>(page)] =
          std::min(length - i * sizes.page_size, sizes.page_size);
    }
  }
  const reference::PagedCache at = attention_decode_cache(cache, sizes, width);
  const auto size = static_cast<std::int64_t>(size_bytes_of(sizes.kv));
  for (std::int64_t page = 0; page < sizes.pages(); ++page) {
    for (std::int64_t slot = used[static_cast<std::size_t>(page)]; slot < sizes.page_size; ++slot) {
      for (std::int64_t head = 0; head < sizes.kv_heads; ++head) {
        const std::int64_t row =
            page * at.page_stride + slot * at.slot_stride + head * at.head_stride;
        std::memset(cache.host_as<std::byte>() + row * size, kNanByte,
                    static_cast<std::size_t>(width * size));
      }
    }
  }
}

}  // namespace

AttentionDecodeSizes AttentionDecodeSizes::of(const OpArguments& arguments) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  return {.batch = call.integer("batch"),
          .length = call.integer("length"),
          .q_tokens = call.integer("q_tokens"),
          .page_size = call.integer("page_size"),
          .q_heads = shape.integer("Hq"),
          .kv_heads = shape.integer("Hkv"),
          .d_qk = shape.integer("D_qk"),
          .d_vo = shape.integer("D_vo"),
          .io = float_type_of(shape.word("io")),
          .kv = float_type_of(shape.word("kv")),
          .ragged = call.flag("ragged"),
          .v_in_k = shape.flag("v_in_k"),
          .softcap = shape.flag("softcap"),
          .csr = call.flag("csr"),
          .hnd = call.flag("hnd"),
          .scaled = call.flag("scaled"),
          .alibi = call.flag("alibi"),
          .sink = call.flag("sink"),
          .splits = call.integer("splits"),
          .split_tokens = call.integer("split_tokens"),
          .window = call.integer("window"),
          .variant = shape.word("variant")};
}

Result<AttentionDecodeTensors> AttentionDecodeTensors::create(const TrialSite& site,
                                                              const AttentionDecodeSizes& sizes) {
  using enum ElementType;
  const std::int64_t n = sizes.batch, t = sizes.q_tokens, hq = sizes.q_heads;
  const std::vector<std::pair<ElementType, std::vector<std::int64_t>>> wanted = {
      {sizes.io, {n, t, hq, sizes.d_qk}},
      {sizes.kv, cache_shape(sizes, sizes.d_qk)},
      {sizes.kv, sizes.v_in_k ? std::vector<std::int64_t>{1} : cache_shape(sizes, sizes.d_vo)},
      {i32, {n, sizes.pages_max()}},
      {i32, {n}},
      {i32, {n + 1}},
      {i32, {n * sizes.pages_max()}},
      {i32, {n}},
      {f32, {n, sizes.kv_heads}},
      {f32, {n, sizes.kv_heads}},
      {f32, {hq}},
      {f32, {hq}},
      {sizes.io, {n, t, hq, sizes.d_vo}},
      {f32, {n, t, hq}}};
  std::vector<TrialTensor> made;
  for (const auto& [type, shape] : wanted) {
    KILN_TRY_ASSIGN(TrialTensor tensor,
                    TrialTensor::create(*site.driver, site.device, type, shape));
    made.push_back(std::move(tensor));
  }
  auto take = [&made, i = std::size_t{0}]() mutable { return std::move(made[i++]); };
  AttentionDecodeTensors tensors{take(), take(), take(), take(), take(), take(),
                                 take(), take(), take(), take(), take(), take(),
                                 take(), take(), {},     {},     {}};
  KILN_TRY(create_variant(tensors, site, sizes));
  return tensors;
}

reference::PagedCache attention_decode_cache(const TrialTensor& tensor,
                                             const AttentionDecodeSizes& sizes,
                                             std::int64_t width) {
  const std::int64_t page = sizes.page_size * sizes.kv_heads * width;
  if (sizes.hnd) return {tensor.host_as<std::byte>(), page, width, sizes.page_size * width};
  return {tensor.host_as<std::byte>(), page, sizes.kv_heads * width, width};
}

void AttentionDecodeTensors::fill(const AttentionDecodeSizes& sizes, std::uint64_t seed) {
  Random random(seed);
  fill_table(*this, sizes, random);
  // Scores with a standard deviation of about 1.3: neither uniform weights nor one alone.
  q.fill([&] { return random.uniform(-4, 4); });
  k.fill([&] { return random.uniform(-1, 1); });
  poison_unused(k, *this, sizes, sizes.d_qk);
  v.fill([&] { return random.uniform(-1, 1); });
  if (!sizes.v_in_k) poison_unused(v, *this, sizes, sizes.d_vo);
  for (TrialTensor* scale : {&k_scale, &v_scale}) {
    scale->fill([&] { return random.uniform(0.5F, 2); });
  }
  sinks.fill([&] { return random.uniform(-2, 6); });
  alibi_slopes.fill([&] { return random.uniform(0, 0.5F); });
  if (sizes.variant == "sink") variant[0].fill([&] { return random.uniform(-2, 6); });
  if (sizes.variant != "document") return;
  // Two documents that alternate, so that query tokens see parts of the keys, or none.
  std::int64_t row = 0;
  variant[0].fill([&] { return static_cast<float>(row++ % 2); });
  std::int64_t place = 0;
  variant[1].fill([&] { return static_cast<float>(place++ / kDocument % 2); });
}

Result<void> AttentionDecodeTensors::upload(Driver& driver) {
  for (TrialTensor* tensor : {&q, &k, &v, &block_table, &seq_lens, &indptr, &indices,
                              &last_page_lens, &k_scale, &v_scale, &sinks, &alibi_slopes}) {
    KILN_TRY(tensor->upload(driver));
  }
  for (TrialTensor& tensor : variant) KILN_TRY(tensor.upload(driver));
  return {};
}

reference::AttentionDecodeVariant AttentionDecodeTensors::rule_of(
    const AttentionDecodeSizes& sizes, std::vector<double>& logits) const {
  reference::AttentionDecodeVariant rule;
  const std::int64_t heads = sizes.q_heads;
  const std::int64_t places = sizes.pages_max() * sizes.page_size;
  if (sizes.variant == "sigmoid") {
    rule.softmax = false;
    rule.logit = [bias = variant_scalars[0]](std::int64_t, std::int64_t, double score) {
      return 1 / (1 + std::exp(-(score + bias)));
    };
  }
  if (sizes.variant == "sink") {
    rule.sink = [this, heads](std::int64_t row) {
      return double{variant[0].host_as<float>()[row % heads]};
    };
  }
  if (sizes.variant == "document") {
    rule.sees = [this, heads, places, t = sizes.q_tokens](std::int64_t row, std::int64_t key) {
      const std::int64_t token = row / heads;
      return variant[0].host_as<std::int32_t>()[token] ==
             variant[1].host_as<std::int32_t>()[token / t * places + key];
    };
  }
  if (sizes.variant == "logits_dump") {
    logits.assign(static_cast<std::size_t>(sizes.rows() * places),
                  std::numeric_limits<double>::quiet_NaN());
    rule.logit = [&logits, places](std::int64_t row, std::int64_t key, double score) {
      return logits[static_cast<std::size_t>(row * places + key)] = score;
    };
  }
  return rule;
}

}  // namespace kiln
