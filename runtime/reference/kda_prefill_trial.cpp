// SPDX-License-Identifier: Apache-2.0
#include "kiln/kda_prefill.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/kda_prefill.h"
#include "runtime/reference/kda_trial.h"
#include "runtime/reference/sequence_lengths.h"
#include "runtime/reference/trial_slots.h"
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

struct Sizes {
  std::int64_t heads, value_heads, k, v, pool;
  std::vector<std::int64_t> lengths;
  std::int64_t total;  // tokens, those of no sequence among them
  InitialState initial_state;
  bool ragged;
  ElementType io, gate_io, state;
  reference::KdaDecodeSettings settings;
  KdaLayout layout;

  std::int64_t gates() const { return settings.gate == KdaGate::scalar ? 1 : k; }
  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
  std::int64_t state_elements() const { return v * k; }
  double active_tokens() const {
    return std::accumulate(lengths.begin(), lengths.begin() + std::min(batch(), pool), 0.0);
  }
};

Sizes sizes_of(const OpArguments& arguments, const Op& op, Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  Sizes sizes{};
  sizes.heads = shape.integer("H");
  sizes.value_heads = shape.integer("HV");
  sizes.k = shape.integer("K");
  sizes.v = shape.integer("V");
  sizes.ragged = call.flag("ragged");
  const std::int64_t batch = call.integer("batch");
  sizes.pool = call.integer("pool") == 0 ? batch : call.integer("pool");
  sizes.lengths = sequence_lengths(batch, call.integer("tokens"), sizes.ragged, random);
  sizes.total = std::accumulate(sizes.lengths.begin(), sizes.lengths.end(),
                                std::int64_t{sizes.ragged ? 3 : 0});  // those of no sequence
  sizes.initial_state = call.flag("zero_initial_state") ? InitialState::zero : InitialState::slot;
  sizes.io = float_type_of(shape.word("io"));
  sizes.gate_io = float_type_of(shape.word("gate_io"));
  sizes.state = float_type_of(shape.word("state"));
  sizes.settings = kda_settings_of(op, shape);
  sizes.layout = choice_of<KdaLayout>(op, shape, "layout");
  return sizes;
}

struct Tensors {
  TrialTensor q, k, v, a, b, a_log, dt_bias, state, slots, starts, out;
};

Result<Tensors> create_tensors(const TrialSite& site, const Sizes& sizes) {
  using enum ElementType;
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto rows = [&](ElementType type, std::vector<std::int64_t> inner) {
    std::vector<std::int64_t> shape{sizes.total};
    if (!sizes.ragged) shape = {sizes.batch(), sizes.batch() == 0 ? 1 : sizes.lengths[0]};
    shape.insert(shape.end(), inner.begin(), inner.end());
    return create(type, std::move(shape));
  };
  using Extents = std::vector<std::int64_t>;
  const std::int64_t h = sizes.heads, hv = sizes.value_heads, k = sizes.k, v = sizes.v;
  const Extents gates = sizes.settings.gate == KdaGate::scalar ? Extents{hv} : Extents{hv, sizes.k};
  const bool vk = sizes.layout == KdaLayout::VK;
  KILN_TRY_ASSIGN(TrialTensor q, rows(sizes.io, {h, k}));
  KILN_TRY_ASSIGN(TrialTensor key, rows(sizes.io, {h, k}));
  KILN_TRY_ASSIGN(TrialTensor value, rows(sizes.io, {hv, v}));
  KILN_TRY_ASSIGN(TrialTensor a, rows(sizes.gate_io, gates));
  KILN_TRY_ASSIGN(TrialTensor b, rows(sizes.gate_io, {hv}));
  KILN_TRY_ASSIGN(TrialTensor a_log, create(f32, {hv}));
  KILN_TRY_ASSIGN(TrialTensor dt_bias, create(f32, gates));
  KILN_TRY_ASSIGN(TrialTensor state, create(sizes.state, {sizes.pool, hv, vk ? v : k, vk ? k : v}));
  KILN_TRY_ASSIGN(TrialTensor slots, create(i32, {sizes.batch()}));
  KILN_TRY_ASSIGN(TrialTensor starts, create(i32, {sizes.batch() + 1}));
  KILN_TRY_ASSIGN(TrialTensor out, rows(sizes.io, {hv, v}));
  return Tensors{std::move(q),     std::move(key),    std::move(value),   std::move(a),
                 std::move(b),     std::move(a_log),  std::move(dt_bias), std::move(state),
                 std::move(slots), std::move(starts), std::move(out)};
}

// Magnitudes as in a trained model: gates from almost open to almost shut. NaN in tokens of no
// sequence.
void fill_inputs(Tensors& tensors, const Sizes& sizes, Random& random) {
  const auto starts = starts_of(sizes.lengths);
  const auto fill = [&](TrialTensor& tensor, float low, float high) {
    std::int64_t left = sizes.total == 0 ? 0 : tensor.count() / sizes.total * starts.back();
    tensor.fill([&] { return left-- > 0 ? random.uniform(low, high) : std::nanf(""); });
  };
  const float qk = sizes.settings.qk_l2norm ? 1.0F : 1.7F / std::sqrt(static_cast<float>(sizes.k));
  const bool log_decay = sizes.settings.gate == KdaGate::precomputed;
  const bool beta_itself = sizes.settings.beta == KdaBeta::given;
  fill(tensors.q, -qk, qk);
  fill(tensors.k, -qk, qk);
  fill(tensors.v, -1, 1);
  fill(tensors.a, log_decay ? -5.0F : -4.0F, log_decay ? 0.0F : 4.0F);
  fill(tensors.b, beta_itself ? 0.0F : -3.0F, beta_itself ? 1.0F : 3.0F);
  tensors.a_log.fill([&] { return std::log(random.uniform(1, 16)); });
  tensors.dt_bias.fill([&] { return random.uniform(-4, 1); });
  tensors.state.fill([&] { return random.uniform(-0.5F, 0.5F); });
  fill_trial_slots(tensors.slots, sizes.pool, random);
  std::copy(starts.begin(), starts.end(), tensors.starts.host_as<std::int32_t>());
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
  KdaPrefillTrial(TrialRequest request, Sizes sizes, Tensors tensors)
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
    for (TrialTensor* tensor :
         {&tensors_.q, &tensors_.k, &tensors_.v, &tensors_.a, &tensors_.b, &tensors_.a_log,
          &tensors_.dt_bias, &tensors_.slots, &tensors_.starts}) {
      KILN_TRY(tensor->upload(*site_.driver));
    }
    return reset();
  }

  Result<void> launch() override {
    KdaPrefillArgs args{};
    args.q = tensors_.q.dl();
    args.k = tensors_.k.dl();
    args.v = tensors_.v.dl();
    args.a = tensors_.a.dl();
    args.b = tensors_.b.dl();
    args.gate = sizes_.settings.gate;
    args.beta = sizes_.settings.beta;
    args.layout = sizes_.layout;
    if (args.gate != KdaGate::precomputed) {
      args.A_log = tensors_.a_log.dl();
      args.dt_bias = tensors_.dt_bias.dl();
    }
    args.state = tensors_.state.dl();
    args.slots = tensors_.slots.dl();
    if (sizes_.ragged) args.cu_seqlens = tensors_.starts.dl();
    args.out = tensors_.out.dl();
    args.initial_state = sizes_.initial_state;
    args.qk_l2norm = sizes_.settings.qk_l2norm;
    return kda_prefill(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.state.upload(*site_.driver));
    return tensors_.out.poison(*site_.driver);
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
    std::vector<bool> used(static_cast<std::size_t>(sizes_.pool));
    HeadPlace place{0, 0, 0, 0, row_step};
    for (std::size_t n = 0; n < sizes_.lengths.size(); ++n) {
      place.slot = tensors_.slots.host_as<std::int32_t>()[n];
      place.tokens = sizes_.lengths[n];
      const bool active = place.slot >= 0 && place.slot < sizes_.pool;
      if (active) used[static_cast<std::size_t>(place.slot)] = true;
      for (place.hv = 0; place.hv < sizes_.value_heads; ++place.hv) {
        if (active) {
          compare_head(place, written, out, state);
        } else {
          compare_inactive(place, written, out);
        }
      }
      place.first += place.tokens;
    }
    compare_written(place.first, written, out);
    compare_unused(used, written, state);
    return std::vector<OutputError>{out.result(), state.result()};
  }

  double bytes_moved() const override {
    const double heads =
        static_cast<double>(std::min(sizes_.batch(), sizes_.pool) * sizes_.value_heads);
    const double reads = sizes_.initial_state == InitialState::slot ? 1 : 0;
    const double state = heads * static_cast<double>(sizes_.state_elements()) *
                         static_cast<double>(size_bytes_of(sizes_.state)) * (reads + 1);
    const auto io = static_cast<std::int64_t>(size_bytes_of(sizes_.io));
    const auto gate_io = static_cast<std::int64_t>(size_bytes_of(sizes_.gate_io));
    const std::int64_t token = io * 2 * (sizes_.heads * sizes_.k + sizes_.value_heads * sizes_.v) +
                               gate_io * sizes_.value_heads * (sizes_.gates() + 1);
    return state + sizes_.active_tokens() * static_cast<double>(token) +
           4.0 * static_cast<double>(sizes_.value_heads * (sizes_.gates() + 1));
  }
  // Of the recurrence: decay 1, two products with the state 4, the update 2, the correction 1.
  double operations() const override {
    return 8.0 * sizes_.active_tokens() *
           static_cast<double>(sizes_.value_heads * sizes_.state_elements());
  }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  std::int64_t reference_row_step() const {
    const double updates =
        sizes_.active_tokens() * static_cast<double>(sizes_.value_heads * sizes_.state_elements());
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

  // Where element [row, j] of the V x K matrix that begins at `first` lies.
  std::int64_t state_at(std::int64_t first, std::int64_t row, std::int64_t j) const {
    const bool vk = sizes_.layout == KdaLayout::VK;
    return first + (vk ? row * sizes_.k + j : j * sizes_.v + row);
  }

  // The fp64 result of one head, against what was downloaded.
  void compare_head(const HeadPlace& place, const Written& written, Comparison& out,
                    Comparison& state) const {
    const std::int64_t at = (place.slot * sizes_.value_heads + place.hv) * sizes_.state_elements();
    std::vector<double> expected_state;
    for (std::int64_t row = 0; row < sizes_.v; row += place.row_step) {
      for (std::int64_t j = 0; j < sizes_.k; ++j) {
        expected_state.push_back(
            element_of(sizes_.state, bytes_of(tensors_.state), state_at(at, row, j)));
      }
    }
    if (sizes_.initial_state == InitialState::zero) {
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
      state.add(element_of(sizes_.state, written.state.data(), state_at(at, row, i % sizes_.k)),
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

  void compare_unused(const std::vector<bool>& used, const Written& written,
                      Comparison& state) const {
    const std::size_t slot_bytes =
        static_cast<std::size_t>(sizes_.value_heads * sizes_.state_elements()) *
        size_bytes_of(sizes_.state);
    for (std::size_t slot = 0; slot < used.size(); ++slot) {
      if (used[slot]) continue;
      const std::size_t at = slot * slot_bytes;
      if (std::memcmp(written.state.data() + at, bytes_of(tensors_.state) + at, slot_bytes) != 0) {
        state.reject();
      }
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  Sizes sizes_;
  Tensors tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_kda_prefill_trial(TrialRequest request) {
  Random random(request.seed);
  Sizes sizes = sizes_of(request.arguments, *request.selection.op, random);
  KILN_TRY_ASSIGN(Tensors tensors, create_tensors(request.site, sizes));
  fill_inputs(tensors, sizes, random);
  auto trial =
      std::make_unique<KdaPrefillTrial>(std::move(request), std::move(sizes), std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
