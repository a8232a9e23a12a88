// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_decode.h"

#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/reference/attention_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// What no kernel may use as a page number. Bytes of NaN in every type that a cache may have: 0x7f.
constexpr std::int32_t kGarbagePage = 0x7ffffff0;
constexpr int kNanByte = 0x7f;
constexpr float kSoftcap = 2;  // where the shape caps: well within the scores

struct Sizes {
  std::int64_t batch, length, q_tokens, page_size, q_heads, kv_heads, d_qk, d_vo;
  ElementType io, kv;
  bool ragged, v_in_k, softcap, csr, hnd, scaled, alibi, sink;
  std::int64_t splits, split_tokens, window;
  std::int64_t pages_max() const { return (length + page_size - 1) / page_size; }
  // One page that no sequence has, so that an empty cache is a tensor too.
  std::int64_t pages() const { return batch * pages_max() + 1; }
  std::int64_t rows() const { return batch * q_tokens * q_heads; }
};

Sizes sizes_of(const OpArguments& arguments) {
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
          .window = call.integer("window")};
}

struct Tensors {
  TrialTensor q, k, v;  // v: of one element where the keys hold the values
  TrialTensor block_table, seq_lens, indptr, indices, last_page_lens;
  TrialTensor k_scale, v_scale, sinks, alibi_slopes, out, lse;
  std::optional<TrialTensor> workspace;
};

// Pages of [page_size, Hkv, width], or with heads outside.
std::vector<std::int64_t> cache_shape(const Sizes& sizes, std::int64_t width) {
  if (sizes.hnd) return {sizes.pages(), sizes.kv_heads, sizes.page_size, width};
  return {sizes.pages(), sizes.page_size, sizes.kv_heads, width};
}

Result<Tensors> create_tensors(const TrialSite& site, const Sizes& sizes) {
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
  return Tensors{take(), take(), take(), take(), take(), take(), take(), take(),
                 take(), take(), take(), take(), take(), take(), {}};
}

// Lengths, and pages in random order, by table and compressed; what lies behind a sequence's end is
// poison.
void fill_table(Tensors& tensors, const Sizes& sizes, Random& random) {
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

reference::PagedCache cache_of(const TrialTensor& tensor, const Sizes& sizes, std::int64_t width) {
  const std::int64_t page = sizes.page_size * sizes.kv_heads * width;
  if (sizes.hnd) return {tensor.host_as<std::byte>(), page, width, sizes.page_size * width};
  return {tensor.host_as<std::byte>(), page, sizes.kv_heads * width, width};
}

// NaN in every slot that holds no token of a sequence.
void poison_unused(TrialTensor& cache, const Tensors& tensors, const Sizes& sizes,
                   std::int64_t width) {
  std::vector<std::int64_t> used(static_cast<std::size_t>(sizes.pages()));  // slots of each page
  for (std::int64_t n = 0; n < sizes.batch; ++n) {
    const std::int64_t length = tensors.seq_lens.host_as<std::int32_t>()[n];
    for (std::int64_t i = 0; i * sizes.page_size < length; ++i) {
      const auto page = tensors.block_table.host_as<std::int32_t>()[n * sizes.pages_max() + i];
      used[static_cast<std::size_t>(page)] =
          std::min(length - i * sizes.page_size, sizes.page_size);
    }
  }
  const reference::PagedCache at = cache_of(cache, sizes, width);
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

// A tensor as DLPack has it, two of its dimensions exchanged.
struct SwappedView {
  std::array<std::int64_t, 4> shape, strides;
  DLTensor of(DLTensor tensor) {
    for (int i = 0; i < 4; ++i) {
      const int from = i == 1 ? 2 : i == 2 ? 1 : i;
      shape[static_cast<std::size_t>(i)] = tensor.shape[from];
      strides[static_cast<std::size_t>(i)] = stride_of(tensor, from);
    }
    tensor.shape = shape.data();
    tensor.strides = strides.data();
    return tensor;
  }
};

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
    options_.selected = &selection_;
  }

  Result<void> upload(std::uint64_t seed) {
    Random random(seed);
    fill_table(tensors_, sizes_, random);
    // Scores with a standard deviation of about 1.3: neither uniform weights nor one alone.
    tensors_.q.fill([&] { return random.uniform(-4, 4); });
    tensors_.k.fill([&] { return random.uniform(-1, 1); });
    poison_unused(tensors_.k, tensors_, sizes_, sizes_.d_qk);
    tensors_.v.fill([&] { return random.uniform(-1, 1); });
    if (!sizes_.v_in_k) poison_unused(tensors_.v, tensors_, sizes_, sizes_.d_vo);
    for (TrialTensor* scale : {&tensors_.k_scale, &tensors_.v_scale}) {
      scale->fill([&] { return random.uniform(0.5F, 2); });
    }
    tensors_.sinks.fill([&] { return random.uniform(-2, 6); });
    tensors_.alibi_slopes.fill([&] { return random.uniform(0, 0.5F); });
    for (TrialTensor* tensor :
         {&tensors_.q, &tensors_.k, &tensors_.v, &tensors_.block_table, &tensors_.seq_lens,
          &tensors_.indptr, &tensors_.indices, &tensors_.last_page_lens, &tensors_.k_scale,
          &tensors_.v_scale, &tensors_.sinks, &tensors_.alibi_slopes}) {
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
    const auto* lse = reinterpret_cast<const float*>(lse_bytes.data());
    const reference::AttentionDecodeResult expected = reference_result();
    Comparison out_error("out",
                         "1 ulp of its type + (2 e + r) sum w|v|, e = 2^-22 (sqrt(D_qk) max_j sum "
                         "|score terms| + sqrt(length)), r what weights are rounded to");
    Comparison lse_error("lse", "2^-22 (1 + |lse|) + e");
    for (std::int64_t row = 0; row < sizes_.rows(); ++row) {
      for (std::int64_t i = 0; i < sizes_.d_vo; ++i) {
        const std::int64_t at = row * sizes_.d_vo + i;
        out_error.add(element_of(sizes_.io, out_bytes.data(), at),
                      expected.out[static_cast<std::size_t>(at)], expected.out_allowed(row, i));
      }
      lse_error.add(lse[row], expected.lse[static_cast<std::size_t>(row)],
                    expected.lse_allowed(row));
    }
    return std::vector<OutputError>{out_error.result(), lse_error.result()};
  }

  double bytes_moved() const override {
    const std::int64_t token = sizes_.d_qk + (sizes_.v_in_k ? 0 : sizes_.d_vo);
    return static_cast<double>(size_bytes_of(sizes_.kv)) *
               static_cast<double>(tokens() * sizes_.kv_heads * token) +
           static_cast<double>(size_bytes_of(sizes_.io)) *
               static_cast<double>(sizes_.rows() * (sizes_.d_qk + sizes_.d_vo)) +
           4.0 * static_cast<double>(sizes_.rows());
  }
  // One product and one sum for each element of key and value.
  double operations() const override {
    return 2.0 * static_cast<double>(tokens() * sizes_.q_tokens * sizes_.q_heads *
                                     (sizes_.d_qk + sizes_.d_vo));
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

  // Valid until the next one is asked for.
  AttentionDecodeArgs args() {
    AttentionDecodeArgs args{};
    args.q = tensors_.q.dl();
    args.k_cache = sizes_.hnd ? k_view_.of(tensors_.k.dl()) : tensors_.k.dl();
    if (!sizes_.v_in_k) {
      args.v_cache = sizes_.hnd ? v_view_.of(tensors_.v.dl()) : tensors_.v.dl();
    }
    if (sizes_.csr) {
      args.indptr = tensors_.indptr.dl();
      args.indices = tensors_.indices.dl();
      args.last_page_lens = tensors_.last_page_lens.dl();
      args.pages_max = sizes_.pages_max();
    } else {
      args.block_table = tensors_.block_table.dl();
      args.seq_lens = tensors_.seq_lens.dl();
    }
    args.out = tensors_.out.dl();
    args.lse = tensors_.lse.dl();
    if (sizes_.scaled) {
      args.k_scale = tensors_.k_scale.dl();
      args.v_scale = tensors_.v_scale.dl();
    }
    if (sizes_.sink) args.sinks = tensors_.sinks.dl();
    if (sizes_.alibi) args.alibi_slopes = tensors_.alibi_slopes.dl();
    if (tensors_.workspace) args.workspace = tensors_.workspace->dl();
    args.splits = static_cast<int>(sizes_.splits);
    args.split_tokens = sizes_.split_tokens;
    if (sizes_.window >= 0) args.window_left = sizes_.window;
    if (sizes_.softcap) args.softcap = kSoftcap;
    args.scale = scale();
    return args;
  }

  // That query tokens see.
  std::int64_t tokens() const {
    const auto* lengths = tensors_.seq_lens.host_as<std::int32_t>();
    std::int64_t sum = 0;
    for (std::int64_t n = 0; n < sizes_.batch; ++n) {
      const std::int64_t length = lengths[n];
      sum += sizes_.window < 0 ? length : std::min(length, sizes_.window + sizes_.q_tokens);
    }
    return sum;
  }

  reference::AttentionDecodeResult reference_result() const {
    const auto floats = [](bool used, const TrialTensor& tensor) {
      return used ? std::span(tensor.host_as<float>(), static_cast<std::size_t>(tensor.count()))
                  : std::span<const float>();
    };
    const auto ints = [](const TrialTensor& tensor) {
      return std::span(tensor.host_as<std::int32_t>(), static_cast<std::size_t>(tensor.count()));
    };
    reference::AttentionDecodeCall call{
        .scale = scale(),
        .softcap = sizes_.softcap ? kSoftcap : 0,
        .window_left = sizes_.window,
        .batch = sizes_.batch,
        .q_tokens = sizes_.q_tokens,
        .q_heads = sizes_.q_heads,
        .kv_heads = sizes_.kv_heads,
        .d_qk = sizes_.d_qk,
        .d_vo = sizes_.d_vo,
        .page_size = sizes_.page_size,
        .pages_max = sizes_.pages_max(),
        .io = sizes_.io,
        .kv = sizes_.kv,
        .q = tensors_.q.host_as<std::byte>(),
        .k = cache_of(tensors_.k, sizes_, sizes_.d_qk),
        .v = {},
        .block_table = ints(tensors_.block_table),
        .seq_lens = ints(tensors_.seq_lens),
        .sinks = floats(sizes_.sink, tensors_.sinks),
        .alibi_slopes = floats(sizes_.alibi, tensors_.alibi_slopes)};
    if (const std::string& by = selection_.implementation->name;
        by == "attention_decode/matrix" || by == "attention_decode/latent") {
      const bool bf16 = sizes_.io == ElementType::bf16 && sizes_.kv == ElementType::bf16;
      call.weight_rounding = bf16 ? 0x1p-9 : 0x1p-12;
    }
    call.v = sizes_.v_in_k ? call.k : cache_of(tensors_.v, sizes_, sizes_.d_vo);
    call.k.scales = floats(sizes_.scaled, tensors_.k_scale);
    call.v.scales = floats(sizes_.scaled, tensors_.v_scale);
    return reference::attention_decode(call);
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  Sizes sizes_;
  Tensors tensors_;
  SwappedView k_view_, v_view_;
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
