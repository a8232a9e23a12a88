// SPDX-License-Identifier: Apache-2.0
#include "kiln/attention_decode.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "runtime/reference/attention_decode_problem.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

constexpr float kSoftcap = 2;  // where the shape caps: well within the scores

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
  AttentionDecodeTrial(TrialRequest request, AttentionDecodeSizes sizes,
                       AttentionDecodeTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(std::move(sizes)),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
    options_.selected = &selection_;
    for (const TrialTensor& tensor : tensors_.variant) variant_tensors_.push_back(tensor.dl());
  }

  Result<void> upload(std::uint64_t seed) {
    tensors_.fill(sizes_, seed);
    KILN_TRY(tensors_.upload(*site_.driver));
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
    if (dumps()) KILN_TRY(tensors_.variant[0].poison(*site_.driver));
    return tensors_.lse.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out_bytes, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes lse_bytes, tensors_.lse.download(*site_.driver));
    const auto* lse = reinterpret_cast<const float*>(lse_bytes.data());
    std::vector<double> logits;
    const reference::AttentionDecodeResult expected = reference_result(logits);
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
    std::vector<OutputError> errors{out_error.result()};
    if (sizes_.has_softmax()) errors.push_back(lse_error.result());
    if (dumps()) {
      KILN_TRY_ASSIGN(const OutputError error, compare_logits(expected, logits));
      errors.push_back(error);
    }
    return errors;
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
    if (sizes_.has_softmax()) args.lse = tensors_.lse.dl();
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
    args.variant = {find_attention_variant(sizes_.variant), variant_tensors_,
                    tensors_.variant_scalars};
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

  bool dumps() const { return sizes_.variant == "logits_dump"; }

  Result<OutputError> compare_logits(const reference::AttentionDecodeResult& expected,
                                     const std::vector<double>& logits) {
    KILN_TRY_ASSIGN(const Bytes bytes, tensors_.variant[0].download(*site_.driver));
    Comparison error("logits", "e as for out");
    const std::size_t places = logits.size() / expected.lse.size();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      error.add(element_of(ElementType::f32, bytes.data(), static_cast<std::int64_t>(i)), logits[i],
                expected.relative_error[i / places]);
    }
    return error.result();
  }

  reference::AttentionDecodeResult reference_result(std::vector<double>& logits) const {
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
        .k = attention_decode_cache(tensors_.k, sizes_, sizes_.d_qk),
        .v = {},
        .block_table = ints(tensors_.block_table),
        .seq_lens = ints(tensors_.seq_lens),
        .sinks = floats(sizes_.sink, tensors_.sinks),
        .alibi_slopes = floats(sizes_.alibi, tensors_.alibi_slopes)};
    if (const std::string& by = selection_.implementation->name;
        by == "attention_decode/matrix" || by == "attention_decode/latent") {
      const bool bf16 = sizes_.io == ElementType::bf16 && sizes_.kv == ElementType::bf16;
      call.weight_rounding = half_ulp(bf16 ? ElementType::bf16 : ElementType::f16, 1.0);
    }
    call.v = sizes_.v_in_k ? call.k : attention_decode_cache(tensors_.v, sizes_, sizes_.d_vo);
    call.k.scales = floats(sizes_.scaled, tensors_.k_scale);
    call.v.scales = floats(sizes_.scaled, tensors_.v_scale);
    call.variant = tensors_.rule_of(sizes_, logits);
    return reference::attention_decode(call);
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  AttentionDecodeSizes sizes_;
  AttentionDecodeTensors tensors_;
  std::vector<DLTensor> variant_tensors_;
  SwappedView k_view_, v_view_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_attention_decode_trial(TrialRequest request) {
  AttentionDecodeSizes sizes = AttentionDecodeSizes::of(request.arguments);
  if (sizes.variant.find('@') != std::string::npos) {
    return fail(ErrorCode::unavailable,
                fmt::format("attention_decode: variant {} has no fp64 reference here to compare "
                            "with; 'jitctl compile' and 'prewarm' take it",
                            sizes.variant));
  }
  if (!sizes.has_softmax() && sizes.sink) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("attention_decode: sink=true, and variant {} has no softmax", sizes.variant));
  }
  KILN_TRY_ASSIGN(AttentionDecodeTensors tensors,
                  AttentionDecodeTensors::create(request.site, sizes));
  const std::uint64_t seed = request.seed;
  auto trial = std::make_unique<AttentionDecodeTrial>(std::move(request), std::move(sizes),
                                                      std::move(tensors));
  KILN_TRY(trial->upload(seed));
  return trial;
}

}  // namespace kiln
