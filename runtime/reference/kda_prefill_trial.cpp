// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_prefill.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/kda_prefill.h"
#include "runtime/reference/kda_trial.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// A token costs the state a few roundings of its largest element. They add up as a random walk: no
// later token magnifies them, for decays are at most 1 and the update takes away along k.
constexpr double kStateTolerance = 2e-5;
// Beyond the rounding of the output to bf16: fp32 sums over K of such a state.
constexpr double kOutTolerance = 1e-4;

// Elements of state that the reference may update: about a second.
constexpr double kReferenceUpdatesMax = 1e8;

// Tokens of no sequence that follow ragged ones.
constexpr std::int64_t kLooseTokens = 3;

std::vector<std::int64_t> token_extents(const KdaTrialSizes& sizes) {
  if (sizes.ragged) return {sizes.total};
  return {sizes.batch(), sizes.tokens};
}

// What one call left behind.
struct Written {
  Bytes out, state;
};

// One value head of one sequence. Rows of a state do not depend on one another, so the reference
// may do with one in `row_step`.
struct HeadPlace {
  std::int64_t first;  // token
  std::int64_t tokens;
  std::int64_t hv;
  std::int64_t slot;
  std::int64_t row_step;
};

class KdaPrefillTrial : public Trial {
 public:
  KdaPrefillTrial(TrialRequest request, KdaTrialSizes sizes, KdaTrialTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(std::move(sizes)),
        initial_state_(request.arguments.call.flag("zero_initial_state") ? InitialState::zero
                                                                         : InitialState::slot),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.selected = &selection_;
    options_.stream = request.stream;
  }

  Result<void> make_workspace() {
    KILN_TRY_ASSIGN(const std::int64_t floats, kda_prefill_workspace_floats(args()));
    if (floats == 0) return {};
    KILN_TRY_ASSIGN(workspace_,
                    TrialTensor::create(*site_.driver, site_.device, ElementType::f32, {floats}));
    return {};
  }

  Result<void> upload() {
    KILN_TRY(tensors_.upload_inputs(*site_.driver));
    return reset();
  }

  Result<void> launch() override { return kda_prefill(runtime_, args(), options_); }

  Result<void> reset() override {
    if (workspace_) KILN_TRY(workspace_->poison(*site_.driver));
    return tensors_.reset(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    Written written;
    KILN_TRY_ASSIGN(written.out, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(written.state, tensors_.state.download(*site_.driver));
    const std::int64_t row_step = reference_row_step();
    const std::string sample = row_step == 1 ? "" : fmt::format("; one row of V in {}", row_step);
    Comparison out("out", "1 ulp + 1e-4 sqrt(tokens) of the head's largest" + sample);
    Comparison state("state",
                     "half an ulp of bf16, if it is that, + 2e-5 sqrt(tokens) of the head's "
                     "largest; unused slots to the bit" +
                         sample);
    HeadPlace place{0, 0, 0, 0, row_step};
    for (std::size_t n = 0; n < sizes_.lengths.size(); ++n) {
      place.slot = tensors_.slots.host_as<std::int32_t>()[n];
      place.tokens = sizes_.lengths[n];
      for (place.hv = 0; place.hv < sizes_.value_heads; ++place.hv) {
        if (sizes_.is_active(place.slot)) {
          compare_head(place, written, out, state);
        } else {
          compare_inactive(place, written, out);
        }
      }
      place.first += place.tokens;
    }
    compare_written(place.first, written, out);
    compare_unused_slots(tensors_, sizes_, written.state, state);
    return std::vector<OutputError>{out.result(), state.result()};
  }

  double bytes_moved() const override {
    return sizes_.bytes_moved(initial_state_ == InitialState::slot ? 2 : 1);
  }
  double operations() const override { return sizes_.operations(); }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  KdaPrefillArgs args() const {
    auto args = kda_trial_args<KdaPrefillArgs>(tensors_, sizes_);
    args.initial_state = initial_state_;
    if (workspace_) args.workspace = workspace_->dl();
    return args;
  }

  std::int64_t reference_row_step() const {
    const double updates = static_cast<double>(sizes_.active_tokens()) *
                           static_cast<double>(sizes_.value_heads * sizes_.state_elements());
    std::int64_t step = 1;
    while (updates / static_cast<double>(step) > kReferenceUpdatesMax && step < sizes_.v) step *= 2;
    return step;
  }

  // The index of output `i` of a token.
  std::int64_t out_at(const HeadPlace& place, std::int64_t token, std::int64_t i) const {
    return ((place.first + token) * sizes_.value_heads + place.hv) * sizes_.v + i;
  }

  void compare_inactive(const HeadPlace& place, const Written& written, Comparison& out) const {
    for (std::int64_t t = 0; t < place.tokens; ++t) {
      for (std::int64_t i = 0; i < sizes_.v; ++i) {
        if (!(element_of(sizes_.io, written.out.data(), out_at(place, t, i)) == 0)) out.reject();
      }
    }
  }

  // The fp64 result of one head, against what was downloaded.
  void compare_head(const HeadPlace& place, const Written& written, Comparison& out,
                    Comparison& state) const {
    const std::int64_t at = sizes_.head_at(place.slot, place.hv);
    std::vector<double> expected_state;
    for (std::int64_t row = 0; row < sizes_.v; row += place.row_step) {
      for (std::int64_t j = 0; j < sizes_.k; ++j) {
        expected_state.push_back(
            element_of(sizes_.state, bytes_of(tensors_.state), at + sizes_.element_at(row, j)));
      }
    }
    if (initial_state_ == InitialState::zero) {
      std::fill(expected_state.begin(), expected_state.end(), 0.0);
    }
    const std::int64_t rows = sizes_.v / place.row_step;
    std::vector<double> expected_out(static_cast<std::size_t>(place.tokens * rows));
    reference_head(place, expected_state, expected_out);

    const double walk = std::sqrt(static_cast<double>(std::max<std::int64_t>(place.tokens, 1)));
    const double out_allowed = kOutTolerance * walk * largest_of(expected_out);
    for (std::int64_t i = 0; i < place.tokens * rows; ++i) {
      const double expected = expected_out[static_cast<std::size_t>(i)];
      const double got = element_of(sizes_.io, written.out.data(),
                                    out_at(place, i / rows, i % rows * place.row_step));
      out.add(got, expected, out_allowed + 2 * half_ulp(sizes_.io, expected));
    }
    const double state_allowed = kStateTolerance * walk * largest_of(expected_state);
    for (std::int64_t i = 0; i < rows * sizes_.k; ++i) {
      const std::int64_t row = i / sizes_.k * place.row_step;
      const double expected = expected_state[static_cast<std::size_t>(i)];
      const double rounding =
          sizes_.state == ElementType::f32 ? 0 : half_ulp(sizes_.state, expected);
      state.add(
          element_of(sizes_.state, written.state.data(), at + sizes_.element_at(row, i % sizes_.k)),
          expected, state_allowed + rounding);
    }
  }

  static const std::byte* bytes_of(const TrialTensor& tensor) {
    return tensor.host_as<std::byte>();
  }

  // Elements from 0 on, one in `step`, of one head of a tensor [total, heads, size].
  static std::vector<double> rows_of(ElementType type, const TrialTensor& tensor,
                                     const HeadPlace& place, std::int64_t heads, std::int64_t head,
                                     std::int64_t size, std::int64_t step) {
    std::vector<double> rows;
    for (std::int64_t t = place.first; t < place.first + place.tokens; ++t) {
      for (std::int64_t i = 0; i < size; i += step) {
        rows.push_back(element_of(type, bytes_of(tensor), (t * heads + head) * size + i));
      }
    }
    return rows;
  }

  void reference_head(const HeadPlace& place, std::vector<double>& state,
                      std::vector<double>& out) const {
    const std::int64_t hv = place.hv;
    const std::int64_t h = hv / (sizes_.value_heads / sizes_.heads);
    const ElementType io = sizes_.io, gate_io = sizes_.gate_io;
    const std::int64_t gates = sizes_.gates(), hvs = sizes_.value_heads;
    const auto q = rows_of(io, tensors_.q, place, sizes_.heads, h, sizes_.k, 1);
    const auto k = rows_of(io, tensors_.k, place, sizes_.heads, h, sizes_.k, 1);
    const auto v = rows_of(io, tensors_.v, place, hvs, hv, sizes_.v, place.row_step);
    const auto a = rows_of(gate_io, tensors_.a, place, hvs, hv, gates, 1);
    const auto b = rows_of(gate_io, tensors_.b, place, hvs, hv, 1, 1);
    const float* bias = tensors_.dt_bias.host_as<float>() + hv * gates;
    const std::vector<double> dt_bias(bias, bias + gates);
    reference::KdaPrefillHead head;
    head.settings = sizes_.settings;
    head.k_size = static_cast<std::size_t>(sizes_.k);
    head.q = q;
    head.k = k;
    head.v = v;
    head.a = a;
    head.b = b;
    head.dt_bias = dt_bias;
    head.a_log = tensors_.a_log.host_as<float>()[hv];
    reference::kda_prefill_head(head, state, out);
  }

  // No output of a sequence's tokens is left unwritten, whichever rows were compared; those of no
  // sequence are as they were.
  void compare_written(std::int64_t used, const Written& written, Comparison& out) const {
    const auto size = static_cast<std::int64_t>(size_bytes_of(sizes_.io));
    const std::int64_t token_elements = sizes_.value_heads * sizes_.v;
    const std::byte* data = written.out.data();
    for (std::int64_t i = 0; i < sizes_.total * token_elements; ++i) {
      const bool poison = std::all_of(data + i * size, data + (i + 1) * size,
                                      [](std::byte b) { return b == std::byte{0xff}; });
      if (poison != (i >= used * token_elements)) out.reject();
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  KdaTrialSizes sizes_;
  InitialState initial_state_;
  KdaTrialTensors tensors_;
  std::optional<TrialTensor> workspace_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_kda_prefill_trial(TrialRequest request) {
  Random random(request.seed);
  KdaTrialSizes sizes =
      kda_trial_sizes(request.arguments, *request.selection.op, kLooseTokens, random);
  KILN_TRY_ASSIGN(KdaTrialTensors tensors,
                  create_kda_tensors(request.site, sizes, token_extents(sizes)));
  fill_kda_inputs(tensors, sizes, random);
  const bool has_workspace =
      request.arch.family() != ArchFamily::x86_64 && request.arguments.call.flag("workspace");
  auto trial =
      std::make_unique<KdaPrefillTrial>(std::move(request), std::move(sizes), std::move(tensors));
  if (has_workspace) KILN_TRY(trial->make_workspace());
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
