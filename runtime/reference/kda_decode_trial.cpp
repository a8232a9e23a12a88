// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "kiln/kda_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/kda_decode.h"
#include "runtime/reference/kda_trial.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// A token costs an fp32 state a few roundings of its largest element, which add up as a random
// walk.
constexpr double kStateTolerance = 2e-5;
// Beyond the rounding of the output to its type: fp32 sums over K.
constexpr double kOutTolerance = 1e-4;

// [N] or [N, T], ragged [total].
std::vector<std::int64_t> token_extents(const KdaTrialSizes& sizes) {
  if (sizes.ragged) return {sizes.total};
  if (sizes.tokens == 1) return {sizes.batch()};
  return {sizes.batch(), sizes.tokens};
}

class KdaDecodeTrial : public Trial {
 public:
  KdaDecodeTrial(TrialRequest request, KdaTrialSizes sizes, KdaTrialTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(std::move(sizes)),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.selected = &selection_;
    options_.stream = request.stream;
  }

  Result<void> upload() {
    KILN_TRY(tensors_.upload_inputs(*site_.driver));
    return reset();
  }

  Result<void> launch() override {
    auto args = kda_trial_args<KdaDecodeArgs>(tensors_, sizes_);
    if (sizes_.ragged) args.tokens_max = sizes_.tokens;
    return kda_decode(runtime_, args, options_);
  }

  Result<void> reset() override { return tensors_.reset(*site_.driver); }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes state, tensors_.state.download(*site_.driver));
    Comparison out_error("out", "1 ulp + 1e-4 of the head's largest");
    Comparison state_error("state",
                           "half an ulp of bf16, if it is that, + 2e-5 sqrt(tokens) of the head's "
                           "largest; unused slots to the bit");
    for (std::int64_t n = 0; n < sizes_.batch(); ++n) {
      const std::int64_t slot = tensors_.slots.host_as<std::int32_t>()[n];
      for (std::int64_t hv = 0; hv < sizes_.value_heads; ++hv) {
        if (sizes_.is_active(slot)) {
          compare_head(n, hv, slot, out, state, out_error, state_error);
        } else {
          expect_zeros(n, hv, out, out_error);
        }
      }
    }
    compare_unused_slots(tensors_, sizes_, state, state_error);
    return std::vector<OutputError>{out_error.result(), state_error.result()};
  }

  double bytes_moved() const override { return sizes_.bytes_moved(2); }
  double operations() const override { return sizes_.operations(); }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  std::int64_t first_token(std::int64_t n) const {
    return tensors_.starts.host_as<std::int32_t>()[n];
  }
  std::int64_t length(std::int64_t n) const { return sizes_.lengths[static_cast<std::size_t>(n)]; }

  void expect_zeros(std::int64_t n, std::int64_t hv, const Bytes& out, Comparison& error) const {
    for (std::int64_t t = 0; t < length(n); ++t) {
      const std::int64_t first = ((first_token(n) + t) * sizes_.value_heads + hv) * sizes_.v;
      for (std::int64_t i = 0; i < sizes_.v; ++i) {
        if (!(element_of(sizes_.io, out.data(), first + i) == 0)) error.reject();
      }
    }
  }

  // The V x K matrix that begins at `first`.
  std::vector<double> matrix_of(const std::byte* states, std::int64_t first) const {
    const auto stored = elements_of(sizes_.state, states, first, sizes_.state_elements());
    std::vector<double> matrix;
    for (std::int64_t i = 0; i < sizes_.state_elements(); ++i) {
      const std::int64_t at = sizes_.element_at(i / sizes_.k, i % sizes_.k);
      matrix.push_back(stored[static_cast<std::size_t>(at)]);
    }
    return matrix;
  }

  // The fp64 result of one head, against what was downloaded.
  void compare_head(std::int64_t n, std::int64_t hv, std::int64_t slot, const Bytes& out,
                    const Bytes& state, Comparison& out_error, Comparison& state_error) const {
    const std::int64_t first = sizes_.head_at(slot, hv);
    std::vector<double> expected = matrix_of(bytes_of(tensors_.state), first);
    std::vector<double> expected_out(static_cast<std::size_t>(sizes_.v));
    for (std::int64_t t = 0; t < length(n); ++t) {
      reference_token(first_token(n) + t, hv, expected, expected_out);
      const std::int64_t row = ((first_token(n) + t) * sizes_.value_heads + hv) * sizes_.v;
      const double allowed = kOutTolerance * largest_of(expected_out);
      for (std::int64_t i = 0; i < sizes_.v; ++i) {
        const double want = expected_out[static_cast<std::size_t>(i)];
        out_error.add(element_of(sizes_.io, out.data(), row + i), want,
                      allowed + 2 * half_ulp(sizes_.io, want));
      }
    }
    const std::vector<double> after = matrix_of(state.data(), first);
    const double tokens = std::max(1.0, static_cast<double>(length(n)));
    const double allowed = kStateTolerance * std::sqrt(tokens) * largest_of(expected);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double rounding =
          sizes_.state == ElementType::f32 ? 0 : half_ulp(sizes_.state, expected[i]);
      state_error.add(after[i], expected[i], allowed + rounding);
    }
  }

  static const std::byte* bytes_of(const TrialTensor& tensor) {
    return tensor.host_as<std::byte>();
  }

  void reference_token(std::int64_t token, std::int64_t hv, std::vector<double>& state,
                       std::vector<double>& out) const {
    const std::int64_t h = hv / (sizes_.value_heads / sizes_.heads);
    const std::int64_t head = token * sizes_.value_heads + hv;
    const std::int64_t qk = (token * sizes_.heads + h) * sizes_.k;
    const auto q = elements_of(sizes_.io, bytes_of(tensors_.q), qk, sizes_.k);
    const auto k = elements_of(sizes_.io, bytes_of(tensors_.k), qk, sizes_.k);
    const auto v = elements_of(sizes_.io, bytes_of(tensors_.v), head * sizes_.v, sizes_.v);
    const std::int64_t gates = sizes_.gates();
    const auto a = elements_of(sizes_.gate_io, bytes_of(tensors_.a), head * gates, gates);
    const auto bias = elements_of(ElementType::f32, bytes_of(tensors_.dt_bias), hv * gates, gates);
    const double b = element_of(sizes_.gate_io, bytes_of(tensors_.b), head);
    const double a_log = tensors_.a_log.host_as<float>()[hv];
    reference::kda_decode_head(sizes_.settings, {q, k, v, a, bias, b, a_log}, state, out);
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  KdaTrialSizes sizes_;
  KdaTrialTensors tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_kda_decode_trial(TrialRequest request) {
  Random random(request.seed);
  KdaTrialSizes sizes = kda_trial_sizes(request.arguments, *request.selection.op, 0, random);
  KILN_TRY_ASSIGN(KdaTrialTensors tensors,
                  create_kda_tensors(request.site, sizes, token_extents(sizes)));
  fill_kda_inputs(tensors, sizes, random);
  auto trial =
      std::make_unique<KdaDecodeTrial>(std::move(request), std::move(sizes), std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
