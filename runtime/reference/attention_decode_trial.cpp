// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_decode.h"

#include <cmath>
#include <numeric>

#include "runtime/reference/attention_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// What no kernel may use as a page number, and bf16's NaN.
constexpr std::int32_t kGarbagePage = 0x7ffffff0;
constexpr std::uint16_t kNan = 0x7fff;

struct Sizes {
  std::int64_t batch, length, page_size, q_heads, kv_heads, d_qk, d_vo;
  bool ragged, v_in_k;
  int splits;
  std::int64_t pages_max() const { return (length + page_size - 1) / page_size; }
  // One page that no sequence has, so that an empty cache is a tensor too.
  std::int64_t pages() const { return batch * pages_max() + 1; }
};

Sizes sizes_of(const OpArguments& arguments) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  return {call.integer("batch"),     call.integer("length"),
          call.integer("page_size"), shape.integer("Hq"),
          shape.integer("Hkv"),      shape.integer("D_qk"),
          shape.integer("D_vo"),     call.flag("ragged"),
          shape.flag("v_in_k"),      static_cast<int>(call.integer("splits"))};
}

struct Tensors {
  TrialTensor q, k, block_table, seq_lens, out, lse;
  std::optional<TrialTensor> v;
  std::optional<TrialTensor> workspace;
};

Result<Tensors> create_tensors(const TrialSite& site, const Sizes& sizes) {
  using enum ElementType;
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const std::int64_t n = sizes.batch, hq = sizes.q_heads;
  const auto cache = [&](std::int64_t width) {
    return create(bf16, {sizes.pages(), sizes.page_size, sizes.kv_heads, width});
  };
  KILN_TRY_ASSIGN(TrialTensor q, create(bf16, {n, hq, sizes.d_qk}));
  KILN_TRY_ASSIGN(TrialTensor k, cache(sizes.d_qk));
  KILN_TRY_ASSIGN(TrialTensor block_table, create(i32, {n, sizes.pages_max()}));
  KILN_TRY_ASSIGN(TrialTensor seq_lens, create(i32, {n}));
  KILN_TRY_ASSIGN(TrialTensor out, create(bf16, {n, hq, sizes.d_vo}));
  KILN_TRY_ASSIGN(TrialTensor lse, create(f32, {n, hq}));
  Tensors tensors{std::move(q),
                  std::move(k),
                  std::move(block_table),
                  std::move(seq_lens),
                  std::move(out),
                  std::move(lse),
                  {},
                  {}};
  if (!sizes.v_in_k) {
    KILN_TRY_ASSIGN(tensors.v, cache(sizes.d_vo));
  }
  return tensors;
}

// Lengths, and pages in random order; what lies behind a sequence's end is poison.
void fill_table(Tensors& tensors, const Sizes& sizes, Random& random) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(sizes.pages()));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[random.next() % (i + 1)]);
  }
  auto* lengths = tensors.seq_lens.host_as<std::int32_t>();
  auto* table = tensors.block_table.host_as<std::int32_t>();
  const auto choices = static_cast<std::uint64_t>(sizes.length + 1);
  for (std::int64_t n = 0; n < sizes.batch; ++n) {
    lengths[n] = static_cast<std::int32_t>(sizes.ragged ? random.next() % choices : choices - 1);
    const std::int64_t used = (lengths[n] + sizes.page_size - 1) / sizes.page_size;
    for (std::int64_t i = 0; i < sizes.pages_max(); ++i) {
      const std::int64_t at = n * sizes.pages_max() + i;
      table[at] = i < used ? order[static_cast<std::size_t>(at)] : kGarbagePage;
    }
  }
}

// NaN in every slot that holds no token of a sequence.
void poison_unused(TrialTensor& cache, const Tensors& tensors, const Sizes& sizes) {
  std::vector<std::int64_t> used(static_cast<std::size_t>(sizes.pages()));  // slots of each page
  for (std::int64_t n = 0; n < sizes.batch; ++n) {
    const std::int64_t length = tensors.seq_lens.host_as<std::int32_t>()[n];
    for (std::int64_t i = 0; i * sizes.page_size < length; ++i) {
      const auto page = tensors.block_table.host_as<std::int32_t>()[n * sizes.pages_max() + i];
      used[static_cast<std::size_t>(page)] =
          std::min(length - i * sizes.page_size, sizes.page_size);
    }
  }
  const std::int64_t page_elements = cache.count() / sizes.pages();
  const std::int64_t slot_elements = page_elements / sizes.page_size;
  auto* data = cache.host_as<std::uint16_t>();
  for (std::int64_t page = 0; page < sizes.pages(); ++page) {
    std::fill(data + page * page_elements + used[static_cast<std::size_t>(page)] * slot_elements,
              data + (page + 1) * page_elements, kNan);
  }
}

class AttentionDecodeTrial : public Trial {
 public:
  AttentionDecodeTrial(TrialRequest request, Sizes sizes, Tensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
  }

  Result<void> upload(std::uint64_t seed) {
    Random random(seed);
    fill_table(tensors_, sizes_, random);
    // Scores with a standard deviation of about 1.3: neither uniform weights nor one alone.
    tensors_.q.fill([&] { return random.uniform(-4, 4); });
    tensors_.k.fill([&] { return random.uniform(-1, 1); });
    poison_unused(tensors_.k, tensors_, sizes_);
    if (tensors_.v) {
      tensors_.v->fill([&] { return random.uniform(-1, 1); });
      poison_unused(*tensors_.v, tensors_, sizes_);
      KILN_TRY(tensors_.v->upload(*site_.driver));
    }
    for (TrialTensor* tensor :
         {&tensors_.q, &tensors_.k, &tensors_.block_table, &tensors_.seq_lens}) {
      KILN_TRY(tensor->upload(*site_.driver));
    }
    KILN_TRY_ASSIGN(const std::int64_t floats, attention_decode_workspace_floats(args()));
    if (floats > 0) {
      KILN_TRY_ASSIGN(tensors_.workspace,
                      TrialTensor::create(*site_.driver, site_.device, ElementType::f32, {floats}));
    }
    return reset();
  }

  Result<void> launch() override { return attention_decode(runtime_, args(), options_); }

  Result<void> reset() override {
    KILN_TRY(tensors_.out.poison(*site_.driver));
    if (tensors_.workspace) KILN_TRY(tensors_.workspace->poison(*site_.driver));
    return tensors_.lse.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out_bytes, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes lse_bytes, tensors_.lse.download(*site_.driver));
    const auto* out = reinterpret_cast<const std::uint16_t*>(out_bytes.data());
    const auto* lse = reinterpret_cast<const float*>(lse_bytes.data());
    const reference::AttentionDecodeResult expected = reference_result();
    Comparison out_error("out",
                         "1 bf16 ulp + 2 e sum w|v|, e = 2^-22 (sqrt(D_qk) max_j sum "
                         "|scale q k| + sqrt(length))");
    Comparison lse_error("lse", "2^-22 (1 + |lse|) + e");
    for (std::int64_t row = 0; row < sizes_.batch * sizes_.q_heads; ++row) {
      for (std::int64_t i = 0; i < sizes_.d_vo; ++i) {
        const auto at = static_cast<std::size_t>(row * sizes_.d_vo + i);
        out_error.add(float_of_bf16(out[at]), expected.out[at],
                      expected.out_allowed(row, i, sizes_.d_vo));
      }
      lse_error.add(lse[row], expected.lse[static_cast<std::size_t>(row)],
                    expected.lse_allowed(row));
    }
    return std::vector<OutputError>{out_error.result(), lse_error.result()};
  }

  double bytes_moved() const override {
    const std::int64_t token = sizes_.d_qk + (sizes_.v_in_k ? 0 : sizes_.d_vo);
    const std::int64_t heads = sizes_.batch * sizes_.q_heads;
    return 2.0 * static_cast<double>(tokens() * sizes_.kv_heads * token +
                                     heads * (sizes_.d_qk + sizes_.d_vo)) +
           4.0 * static_cast<double>(heads);
  }
  // One product and one sum for each element of key and value.
  double operations() const override {
    return 2.0 * static_cast<double>(tokens() * sizes_.q_heads * (sizes_.d_qk + sizes_.d_vo));
  }
  std::string_view traffic() const override { return "read"; }
  const Selection& selection() const override { return selection_; }

 private:
  // MLA's scale belongs to the head before absorption: 128 elements and 64 of rope for a latent of
  // 512 and 64.
  float scale() const {
    const std::int64_t d = sizes_.v_in_k ? sizes_.d_qk / 3 : sizes_.d_qk;
    return 1 / std::sqrt(static_cast<float>(d));
  }

  AttentionDecodeArgs args() const {
    AttentionDecodeArgs args{};
    args.q = tensors_.q.dl();
    args.k_cache = tensors_.k.dl();
    if (tensors_.v) args.v_cache = tensors_.v->dl();
    args.block_table = tensors_.block_table.dl();
    args.seq_lens = tensors_.seq_lens.dl();
    args.out = tensors_.out.dl();
    args.lse = tensors_.lse.dl();
    if (tensors_.workspace) args.workspace = tensors_.workspace->dl();
    args.splits = sizes_.splits;
    args.scale = scale();
    return args;
  }

  std::int64_t tokens() const {
    const auto* lengths = tensors_.seq_lens.host_as<std::int32_t>();
    return std::accumulate(lengths, lengths + sizes_.batch, std::int64_t{0});
  }

  reference::PagedCache dense_cache(const TrialTensor& tensor, std::int64_t width) const {
    const std::int64_t slot = sizes_.kv_heads * width;
    return {tensor.host_as<std::uint16_t>(), sizes_.page_size * slot, slot, width};
  }

  reference::AttentionDecodeResult reference_result() const {
    const auto span_of = [](const auto* data, const TrialTensor& tensor) {
      return std::span(data, static_cast<std::size_t>(tensor.count()));
    };
    reference::AttentionDecodeCall call{
        .scale = scale(),
        .batch = sizes_.batch,
        .q_heads = sizes_.q_heads,
        .kv_heads = sizes_.kv_heads,
        .d_qk = sizes_.d_qk,
        .d_vo = sizes_.d_vo,
        .page_size = sizes_.page_size,
        .pages_max = sizes_.pages_max(),
        .q = span_of(tensors_.q.host_as<std::uint16_t>(), tensors_.q),
        .k = dense_cache(tensors_.k, sizes_.d_qk),
        .v = {},
        .block_table = span_of(tensors_.block_table.host_as<std::int32_t>(), tensors_.block_table),
        .seq_lens = span_of(tensors_.seq_lens.host_as<std::int32_t>(), tensors_.seq_lens)};
    call.v = tensors_.v ? dense_cache(*tensors_.v, sizes_.d_vo) : call.k;
    return reference::attention_decode(call);
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  Sizes sizes_;
  Tensors tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_attention_decode_trial(TrialRequest request) {
  const Sizes sizes = sizes_of(request.arguments);
  KILN_TRY_ASSIGN(Tensors tensors, create_tensors(request.site, sizes));
  const std::uint64_t seed = request.seed;
  auto trial =
      std::make_unique<AttentionDecodeTrial>(std::move(request), sizes, std::move(tensors));
  KILN_TRY(trial->upload(seed));
  return trial;
}

}  // namespace kiln
