// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_prefill.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/reference/attention_prefill_problem.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

constexpr std::uint16_t kPoison = 0xffff;  // as TrialTensor::poison leaves it
constexpr double kRoundoff = 0x1p-24;      // of fp32
// Products that the reference may take: about a second.
constexpr double kReferenceProductsMax = 4e8;

// What one call wrote.
struct Written {
  Bytes out, lse, logits;
};

// One head of the keys and values of a sequence.
struct HeadInputs {
  std::size_t n;
  std::int64_t kv_head;
  std::vector<double> k, v;
};

// What is compared: everything, or a random choice of rows.
struct Comparisons {
  Comparison out, lse, logits;
  std::uint64_t one_in;
};

class AttentionPrefillTrial : public Trial {
 public:
  AttentionPrefillTrial(TrialRequest request, AttentionPrefillSizes sizes,
                        AttentionPrefillTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        seed_(request.seed),
        sizes_(std::move(sizes)),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
    options_.selected = &selection_;
    for (const TrialTensor& tensor : tensors_.variant) variant_tensors_.push_back(tensor.dl());
  }

  Result<void> upload() {
    KILN_TRY(tensors_.upload(*site_.driver));
    return reset();
  }

  Result<void> launch() override {
    const auto optional = [](const std::optional<TrialTensor>& tensor) {
      return tensor ? std::optional(tensor->dl()) : std::nullopt;
    };
    AttentionPrefillArgs args{};
    args.q = tensors_.q.dl();
    args.k = tensors_.k.dl();
    args.v = tensors_.v.dl();
    args.out = tensors_.out.dl();
    args.cu_seqlens_q = optional(tensors_.starts_q);
    args.cu_seqlens_kv = optional(tensors_.starts_kv);
    args.lse = optional(tensors_.lse);
    args.kv_lens = optional(tensors_.kv_lens);
    if (sizes_.dense && !sizes_.paged && is_full()) args.kv_lens.reset();
    args.block_table = optional(tensors_.block_table);
    args.sinks = optional(tensors_.sinks);
    args.mask = optional(tensors_.mask);
    args.mask_offsets = optional(tensors_.mask_offsets);
    args.causal = sizes_.rule.causal;
    args.window_left = sizes_.rule.window_left;
    args.window_right = sizes_.rule.window_right;
    args.softcap = static_cast<float>(sizes_.rule.softcap);
    args.variant.variant = find_attention_variant(sizes_.variant);
    args.variant.tensors = variant_tensors_;
    args.variant.scalars = tensors_.variant_scalars;
    return attention_prefill(runtime_, args, options_);
  }

  Result<void> reset() override {
    if (tensors_.lse) KILN_TRY(tensors_.lse->poison(*site_.driver));
    if (dumps()) KILN_TRY(tensors_.variant[0].poison(*site_.driver));
    return tensors_.out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    Written written;
    KILN_TRY_ASSIGN(written.out, tensors_.out.download(*site_.driver));
    if (tensors_.lse) {
      KILN_TRY_ASSIGN(written.lse, tensors_.lse->download(*site_.driver));
    }
    if (dumps()) {
      KILN_TRY_ASSIGN(written.logits, tensors_.variant[0].download(*site_.driver));
    }
    const auto one_in = static_cast<std::uint64_t>(
        std::ceil(std::max(1.0, sizes_.products() / kReferenceProductsMax)));
    const std::string sample = one_in == 1 ? "" : fmt::format("; one row in {}", one_in);
    Comparisons comparisons{
        Comparison("out",
                   fmt::format("1 {} ulp + 2^-24 (2 (D_qk + 24) S + 2 n + 64) sum |weight v| over "
                               "n keys, S the largest sum |scale q k|{}{}",
                               name_of(sizes_.io),
                               weight_roundoff() > 0 ? "; and the weights' rounding" : "", sample)),
        Comparison("lse", "2^-24 ((D_qk + 24) S + n + 16 + 4 |lse|), n and S as for out" + sample),
        Comparison("logits", "2^-24 (D_qk + 24) S, S as for out" + sample), one_in};
    Random random(seed_);
    for (std::size_t n = 0; n < sizes_.q_lengths.size(); ++n) {
      for (std::int64_t head = 0; head < sizes_.kv_heads; ++head) {
        compare_head(inputs_of(n, head), random, written, comparisons);
      }
    }
    compare_written(written, comparisons.out);
    std::vector<OutputError> errors{comparisons.out.result()};
    if (tensors_.lse) errors.push_back(comparisons.lse.result());
    if (dumps()) errors.push_back(comparisons.logits.result());
    return errors;
  }

  double bytes_moved() const override {
    double keys = 0;
    for (const std::int64_t length : sizes_.kv_lengths) keys += static_cast<double>(length);
    const auto q = static_cast<double>(sizes_.total_q * sizes_.q_heads);
    const double kv = keys * static_cast<double>(sizes_.kv_heads);
    const double lse = tensors_.lse ? 4 * q : 0;
    return 2 * (q + kv) * static_cast<double>(sizes_.d_qk + sizes_.d_vo) + lse;
  }
  double operations() const override { return 2 * sizes_.products(); }
  std::string_view traffic() const override { return "read"; }
  const Selection& selection() const override { return selection_; }

 private:
  // What an implementation loses that rounds the weights to the io type, for its instructions.
  double weight_roundoff() const {
    const std::string& name = selection_.implementation->name;
    if (name != "attention_prefill/mma" && name != "attention_prefill/wgmma") return 0;
    return half_ulp(sizes_.io, 1.0);
  }
  bool dumps() const { return sizes_.variant == "logits_dump"; }
  bool is_full() const {
    return std::all_of(sizes_.kv_lengths.begin(), sizes_.kv_lengths.end(),
                       [&](std::int64_t length) { return length == sizes_.kv_len; });
  }

  std::vector<double> row_of(const TrialTensor& tensor, std::int64_t row, std::int64_t heads,
                             std::int64_t head, std::int64_t size) const {
    return elements_of(sizes_.io, tensor.host_as<std::byte>(), (row * heads + head) * size, size);
  }

  HeadInputs inputs_of(std::size_t n, std::int64_t head) const {
    HeadInputs inputs{n, head, {}, {}};
    const auto append = [&](std::vector<double>& to, const TrialTensor& tensor, std::int64_t row,
                            std::int64_t size) {
      const std::vector<double> values = row_of(tensor, row, sizes_.kv_heads, head, size);
      to.insert(to.end(), values.begin(), values.end());
    };
    for (std::int64_t j = 0; j < sizes_.kv_lengths[n]; ++j) {
      const std::int64_t row = tensors_.key_row(sizes_, n, j);
      append(inputs.k, tensors_.k, row, sizes_.d_qk);
      append(inputs.v, tensors_.v, row, sizes_.d_vo);
    }
    return inputs;
  }

  // Each query of each query head of one key/value head, or a random choice of them.
  void compare_head(const HeadInputs& inputs, Random& random, const Written& written,
                    Comparisons& comparisons) const {
    const std::int64_t group = sizes_.q_heads / sizes_.kv_heads;
    const std::int64_t first = inputs.kv_head * group;
    for (std::int64_t i = 0; i < sizes_.q_lengths[inputs.n]; ++i) {
      for (std::int64_t head = first; head < first + group; ++head) {
        if (random.next() % comparisons.one_in == 0) {
          compare_row(inputs, i, head, written, comparisons);
        }
      }
    }
  }

  void compare_row(const HeadInputs& inputs, std::int64_t i, std::int64_t head,
                   const Written& written, Comparisons& comparisons) const {
    const auto d_vo = static_cast<std::size_t>(sizes_.d_vo);
    const std::int64_t q_row = sizes_.q_row(inputs.n, i);
    const std::int64_t row = q_row * sizes_.q_heads + head;
    const auto q = row_of(tensors_.q, q_row, sizes_.q_heads, head, sizes_.d_qk);
    std::vector<double> expected(d_vo), terms(d_vo), logits;
    reference::AttentionRule rule = tensors_.rule_of(sizes_, inputs.n, i, head);
    if (dumps()) {
      logits.assign(static_cast<std::size_t>(sizes_.kv_stride), std::nan(""));
      rule.transform = [&](std::int64_t j, double logit) {
        return logits[static_cast<std::size_t>(j)] = logit;
      };
    }
    const reference::AttentionRow result = reference::attention_row(
        rule, i, sizes_.q_lengths[inputs.n], q, inputs.k, inputs.v, expected, terms);
    const double score_error =
        static_cast<double>(sizes_.d_qk + 24) * (result.score_terms_max + 1) * kRoundoff;
    const double sum_error = static_cast<double>(result.keys_seen) * kRoundoff;
    for (std::size_t c = 0; c < d_vo; ++c) {
      const double got = element_of(sizes_.io, written.out.data(),
                                    row * sizes_.d_vo + static_cast<std::int64_t>(c));
      comparisons.out.add(
          got, expected[c],
          2 * half_ulp(sizes_.io, expected[c]) +
              (2 * score_error + 2 * sum_error + 64 * kRoundoff + weight_roundoff()) * terms[c]);
    }
    for (std::size_t j = 0; j < logits.size(); ++j) {
      const double got = element_of(ElementType::f32, written.logits.data(),
                                    row * sizes_.kv_stride + static_cast<std::int64_t>(j));
      comparisons.logits.add(got, logits[j], score_error);
    }
    if (!tensors_.lse) return;
    const double got_lse = element_of(ElementType::f32, written.lse.data(), row);
    const double magnitude = std::isinf(result.lse) ? 0 : std::abs(result.lse);
    comparisons.lse.add(got_lse, result.lse,
                        score_error + sum_error + (16 + 4 * magnitude) * kRoundoff);
  }

  // No output of a sequence's queries is left unwritten, whichever rows were compared; those of no
  // sequence are as they were.
  void compare_written(const Written& written, Comparison& out) const {
    std::int64_t used_q = 0;
    for (const std::int64_t length : sizes_.q_lengths) used_q += length;
    const std::int64_t row_elements = sizes_.q_heads * sizes_.d_vo;
    const auto* data = reinterpret_cast<const std::uint16_t*>(written.out.data());
    for (std::int64_t i = 0; i < sizes_.total_q * row_elements; ++i) {
      const bool poison = data[i] == kPoison;
      if (poison != (i >= used_q * row_elements)) out.reject();
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  std::uint64_t seed_;
  AttentionPrefillSizes sizes_;
  AttentionPrefillTensors tensors_;
  std::vector<DLTensor> variant_tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_attention_prefill_trial(TrialRequest request) {
  Random random(request.seed);
  AttentionPrefillSizes sizes = AttentionPrefillSizes::of(request.arguments, random);
  if (sizes.variant.find('@') != std::string::npos) {
    return fail(ErrorCode::unavailable,
                fmt::format("attention_prefill: variant {} has no fp64 reference here to compare "
                            "with; 'jitctl compile' and 'prewarm' take it",
                            sizes.variant));
  }
  KILN_TRY_ASSIGN(AttentionPrefillTensors tensors,
                  AttentionPrefillTensors::create(request.site, sizes, request.arguments));
  tensors.fill(sizes, random);
  auto trial = std::make_unique<AttentionPrefillTrial>(std::move(request), std::move(sizes),
                                                       std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
