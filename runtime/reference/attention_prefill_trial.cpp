// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_prefill.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "runtime/reference/attention_prefill.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/sequence_lengths.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

constexpr std::uint16_t kNan = 0x7fc0;     // bf16
constexpr std::uint16_t kPoison = 0xffff;  // as TrialTensor::poison leaves it
constexpr double kRoundoff = 0x1p-24;      // of fp32
// Products that the reference may take: about a second.
constexpr double kReferenceProductsMax = 4e8;

struct Sizes {
  std::int64_t q_heads, kv_heads, d_qk, d_vo;
  reference::Mask mask;
  std::vector<std::int64_t> q_lengths, kv_lengths;
  std::int64_t total_q, total_kv;  // tokens of no sequence among them

  // How many keys all queries of one head see together.
  double pairs() const {
    double sum = 0;
    for (std::size_t n = 0; n < q_lengths.size(); ++n) {
      for (std::int64_t i = 0; i < q_lengths[n]; ++i) {
        sum += static_cast<double>(reference::keys_seen(mask, i, q_lengths[n], kv_lengths[n]));
      }
    }
    return sum;
  }
  double products() const {
    return pairs() * static_cast<double>(q_heads) * static_cast<double>(d_qk + d_vo);
  }
};

Sizes sizes_of(const OpArguments& arguments, Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  const std::int64_t batch = call.integer("batch");
  const std::int64_t q_len = call.integer("q_len");
  const std::int64_t kv_len = call.integer("kv_len") < 0 ? q_len : call.integer("kv_len");
  const bool ragged = call.flag("ragged");
  Sizes sizes{shape.integer("Hq"),
              shape.integer("Hkv"),
              shape.integer("D_qk"),
              shape.integer("D_vo"),
              shape.flag("causal") ? reference::Mask::causal : reference::Mask::none,
              sequence_lengths(batch, q_len, ragged, random),
              sequence_lengths(batch, kv_len, ragged, random),
              0,
              0};
  // Against a q_len of nothing and one, any number of keys.
  if (ragged)
    std::rotate(sizes.kv_lengths.begin(), sizes.kv_lengths.begin() + batch / 2,
                sizes.kv_lengths.end());
  const std::int64_t of_no_sequence = ragged ? 3 : 0;
  const auto total = [&](const std::vector<std::int64_t>& lengths) {
    return std::accumulate(lengths.begin(), lengths.end(), of_no_sequence);
  };
  sizes.total_q = total(sizes.q_lengths);
  sizes.total_kv = total(sizes.kv_lengths);
  return sizes;
}

struct Tensors {
  TrialTensor q, k, v, starts_q, starts_kv, out;
  std::optional<TrialTensor> lse;
};

Result<Tensors> create_tensors(const TrialSite& site, const Sizes& sizes, bool lse) {
  using enum ElementType;
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto starts = static_cast<std::int64_t>(sizes.q_lengths.size()) + 1;
  KILN_TRY_ASSIGN(TrialTensor q, create(bf16, {sizes.total_q, sizes.q_heads, sizes.d_qk}));
  KILN_TRY_ASSIGN(TrialTensor k, create(bf16, {sizes.total_kv, sizes.kv_heads, sizes.d_qk}));
  KILN_TRY_ASSIGN(TrialTensor v, create(bf16, {sizes.total_kv, sizes.kv_heads, sizes.d_vo}));
  KILN_TRY_ASSIGN(TrialTensor starts_q, create(i32, {starts}));
  KILN_TRY_ASSIGN(TrialTensor starts_kv, create(i32, {starts}));
  KILN_TRY_ASSIGN(TrialTensor out, create(bf16, {sizes.total_q, sizes.q_heads, sizes.d_vo}));
  Tensors tensors{std::move(q),
                  std::move(k),
                  std::move(v),
                  std::move(starts_q),
                  std::move(starts_kv),
                  std::move(out),
                  {}};
  if (lse) {
    KILN_TRY_ASSIGN(tensors.lse, create(f32, {sizes.total_q, sizes.q_heads}));
  }
  return tensors;
}

// Scores of a few units, so that weights differ by powers of ten; NaN in tokens of no sequence.
void fill_inputs(Tensors& tensors, const Sizes& sizes, Random& random) {
  const auto fill = [&](TrialTensor& tensor, std::int64_t tokens, std::int64_t used, float range) {
    tensor.fill([&random, range] { return random.uniform(-range, range); });
    if (tokens == 0) return;
    auto* data = tensor.host_as<std::uint16_t>();
    std::fill(data + tensor.count() / tokens * used, data + tensor.count(), kNan);
  };
  const auto starts_q = starts_of(sizes.q_lengths);
  const auto starts_kv = starts_of(sizes.kv_lengths);
  fill(tensors.q, sizes.total_q, starts_q.back(), 6);
  fill(tensors.k, sizes.total_kv, starts_kv.back(), 1);
  fill(tensors.v, sizes.total_kv, starts_kv.back(), 1);
  std::copy(starts_q.begin(), starts_q.end(), tensors.starts_q.host_as<std::int32_t>());
  std::copy(starts_kv.begin(), starts_kv.end(), tensors.starts_kv.host_as<std::int32_t>());
}

// Rows of one head of a dense bf16 tensor [tokens, heads, size], widened.
std::vector<double> rows_of(const TrialTensor& tensor, std::int64_t heads, std::int64_t size,
                            std::int64_t first, std::int64_t count, std::int64_t head) {
  std::vector<double> rows;
  rows.reserve(static_cast<std::size_t>(count * size));
  for (std::int64_t token = first; token < first + count; ++token) {
    const auto row = elements_of(ElementType::bf16, tensor.host_as<std::byte>(),
                                 (token * heads + head) * size, size);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

// What one call wrote.
struct Written {
  Bytes out;
  Bytes lse;
  const std::uint16_t* out_row(std::int64_t row, std::int64_t size) const {
    return reinterpret_cast<const std::uint16_t*>(out.data()) + row * size;
  }
};

// One head of key/value rows, and the queries that read it.
struct HeadInputs {
  std::int64_t first_q, queries, keys;
  std::vector<double> k, v;
};

class AttentionPrefillTrial : public Trial {
 public:
  AttentionPrefillTrial(TrialRequest request, Sizes sizes, Tensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        seed_(request.seed),
        sizes_(std::move(sizes)),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
  }

  Result<void> upload() {
    for (TrialTensor* tensor :
         {&tensors_.q, &tensors_.k, &tensors_.v, &tensors_.starts_q, &tensors_.starts_kv}) {
      KILN_TRY(tensor->upload(*site_.driver));
    }
    return reset();
  }

  Result<void> launch() override {
    AttentionPrefillArgs args{};
    args.q = tensors_.q.dl();
    args.k = tensors_.k.dl();
    args.v = tensors_.v.dl();
    args.cu_seqlens_q = tensors_.starts_q.dl();
    args.cu_seqlens_kv = tensors_.starts_kv.dl();
    args.out = tensors_.out.dl();
    if (tensors_.lse) args.lse = tensors_.lse->dl();
    args.causal = sizes_.mask == reference::Mask::causal;
    return attention_prefill(runtime_, args, options_);
  }

  Result<void> reset() override {
    if (tensors_.lse) KILN_TRY(tensors_.lse->poison(*site_.driver));
    return tensors_.out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    Written written;
    KILN_TRY_ASSIGN(written.out, tensors_.out.download(*site_.driver));
    if (tensors_.lse) {
      KILN_TRY_ASSIGN(written.lse, tensors_.lse->download(*site_.driver));
    }
    const auto one_in = static_cast<std::uint64_t>(
        std::ceil(std::max(1.0, sizes_.products() / kReferenceProductsMax)));
    const std::string sample = one_in == 1 ? "" : fmt::format("; one row in {}", one_in);
    Comparison out("out",
                   "1 bf16 ulp + 2^-24 (2 (D_qk + 8) S + 2 n + 64) sum |weight v| over n "
                   "keys, S the largest sum |scale q k|" +
                       sample);
    Comparison lse("lse", "2^-24 ((D_qk + 8) S + n + 16 + 4 |lse|), n and S as for out" + sample);
    Random random(seed_);
    std::int64_t first_q = 0, first_kv = 0;
    for (std::size_t n = 0; n < sizes_.q_lengths.size(); ++n) {
      for (std::int64_t head = 0; head < sizes_.kv_heads; ++head) {
        const std::int64_t keys = sizes_.kv_lengths[n];
        const HeadInputs inputs{
            first_q, sizes_.q_lengths[n], keys,
            rows_of(tensors_.k, sizes_.kv_heads, sizes_.d_qk, first_kv, keys, head),
            rows_of(tensors_.v, sizes_.kv_heads, sizes_.d_vo, first_kv, keys, head)};
        compare_head(inputs, head, one_in, random, written, out, lse);
      }
      first_q += sizes_.q_lengths[n];
      first_kv += sizes_.kv_lengths[n];
    }
    compare_written(first_q, written, out);
    std::vector<OutputError> errors{out.result()};
    if (tensors_.lse) errors.push_back(lse.result());
    return errors;
  }

  double bytes_moved() const override {
    const auto q = static_cast<double>(sizes_.total_q * sizes_.q_heads);
    const auto kv = static_cast<double>(sizes_.total_kv * sizes_.kv_heads);
    const double lse = tensors_.lse ? 4 * q : 0;
    return 2 * (q + kv) * static_cast<double>(sizes_.d_qk + sizes_.d_vo) + lse;
  }
  double operations() const override { return 2 * sizes_.products(); }
  std::string_view traffic() const override { return "read"; }
  const Selection& selection() const override { return selection_; }

 private:
  // Each query of each query head of one key/value head, or a random choice of them.
  void compare_head(const HeadInputs& inputs, std::int64_t kv_head, std::uint64_t one_in,
                    Random& random, const Written& written, Comparison& out,
                    Comparison& lse) const {
    const std::int64_t group = sizes_.q_heads / sizes_.kv_heads;
    for (std::int64_t i = 0; i < inputs.queries; ++i) {
      for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        if (random.next() % one_in == 0) compare_row(inputs, i, head, written, out, lse);
      }
    }
  }

  void compare_row(const HeadInputs& inputs, std::int64_t i, std::int64_t head,
                   const Written& written, Comparison& out, Comparison& lse) const {
    const auto keys =
        static_cast<std::size_t>(reference::keys_seen(sizes_.mask, i, inputs.queries, inputs.keys));
    const auto d_qk = static_cast<std::size_t>(sizes_.d_qk);
    const auto d_vo = static_cast<std::size_t>(sizes_.d_vo);
    const std::int64_t row = (inputs.first_q + i) * sizes_.q_heads + head;
    const auto q = elements_of(ElementType::bf16, tensors_.q.host_as<std::byte>(),
                               row * sizes_.d_qk, sizes_.d_qk);
    std::vector<double> expected(d_vo);
    std::vector<double> terms(d_vo);
    const double scale = 1 / std::sqrt(static_cast<double>(d_qk));
    const reference::AttentionRow result =
        reference::attention_row(scale, q, std::span(inputs.k).first(keys * d_qk),
                                 std::span(inputs.v).first(keys * d_vo), expected, terms);

    const double score_error = static_cast<double>(d_qk + 8) * result.score_terms_max * kRoundoff;
    const double sum_error = static_cast<double>(keys) * kRoundoff;
    const std::uint16_t* got = written.out_row(row, sizes_.d_vo);
    for (std::size_t c = 0; c < d_vo; ++c) {
      out.add(
          float_of_bf16(got[c]), expected[c],
          bf16_ulp(expected[c]) + (2 * score_error + 2 * sum_error + 64 * kRoundoff) * terms[c]);
    }
    if (!tensors_.lse) return;
    const double got_lse = element_of(ElementType::f32, written.lse.data(), row);
    const double magnitude = keys == 0 ? 0 : std::abs(result.lse);
    lse.add(got_lse, result.lse, score_error + sum_error + (16 + 4 * magnitude) * kRoundoff);
  }

  // No output of a sequence's queries is left unwritten, whichever rows were compared; those of no
  // sequence are as they were.
  void compare_written(std::int64_t used_q, const Written& written, Comparison& out) const {
    const std::int64_t row_elements = sizes_.q_heads * sizes_.d_vo;
    const std::uint16_t* data = written.out_row(0, 0);
    for (std::int64_t i = 0; i < sizes_.total_q * row_elements; ++i) {
      const bool poison = data[i] == kPoison;
      if (poison != (i >= used_q * row_elements)) out.reject();
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  std::uint64_t seed_;
  Sizes sizes_;
  Tensors tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_attention_prefill_trial(TrialRequest request) {
  Random random(request.seed);
  Sizes sizes = sizes_of(request.arguments, random);
  KILN_TRY_ASSIGN(Tensors tensors,
                  create_tensors(request.site, sizes, request.arguments.call.flag("lse")));
  fill_inputs(tensors, sizes, random);
  auto trial = std::make_unique<AttentionPrefillTrial>(std::move(request), std::move(sizes),
                                                       std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
