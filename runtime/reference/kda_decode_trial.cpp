// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kiln/kda_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/kda_decode.h"
#include "runtime/reference/kda_trial.h"
#include "runtime/reference/sequence_lengths.h"
#include "runtime/reference/trial_slots.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// A token costs an fp32 state a few roundings of its largest element, which add up as a random
// walk.
constexpr double kStateTolerance = 2e-5;
// Beyond the rounding of the output to its type: fp32 sums over K.
constexpr double kOutTolerance = 1e-4;

struct KdaSetup {
  std::int64_t heads, value_heads, k, v, pool;
  std::int64_t tokens;                // of each sequence; with ragged, of the longest
  std::vector<std::int64_t> lengths;  // of each sequence
  bool ragged;
  ElementType io, gate_io, state;
  reference::KdaDecodeSettings settings;
  KdaLayout layout;

  std::int64_t batch() const { return static_cast<std::int64_t>(lengths.size()); }
  std::int64_t total() const {
    return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  }
  std::int64_t gates() const { return settings.gate == KdaGate::scalar ? 1 : k; }
  std::int64_t state_elements() const { return v * k; }
  std::int64_t active() const { return std::min(batch(), pool); }
  // Sequences that do anything, and their tokens. Those beyond the pool are inactive.
  std::int64_t active_tokens() const {
    return std::accumulate(lengths.begin(), lengths.begin() + active(), std::int64_t{0});
  }
};

KdaSetup setup_of(const OpArguments& arguments, const Op& op, Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  KdaSetup setup{};
  setup.heads = shape.integer("H");
  setup.value_heads = shape.integer("HV");
  setup.k = shape.integer("K");
  setup.v = shape.integer("V");
  setup.pool = call.integer("pool") == 0 ? call.integer("batch") : call.integer("pool");
  setup.tokens = call.integer("tokens");
  setup.ragged = call.flag("ragged");
  setup.lengths = sequence_lengths(call.integer("batch"), setup.tokens, setup.ragged, random);
  setup.io = float_type_of(shape.word("io"));
  setup.gate_io = float_type_of(shape.word("gate_io"));
  setup.state = float_type_of(shape.word("state"));
  setup.settings = kda_settings_of(op, shape);
  setup.layout = choice_of<KdaLayout>(op, shape, "layout");
  return setup;
}

struct KdaTensors {
  TrialTensor q, k, v, a, b, a_log, dt_bias, state, slots, starts, out;
};

// Dense tokens have dimensions [N] or [N, T], ragged ones [total].
Result<KdaTensors> create_tensors(const TrialSite& site, const KdaSetup& setup) {
  using enum ElementType;
  const std::int64_t h = setup.heads, hv = setup.value_heads, k = setup.k, v = setup.v;
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto rows = [&](ElementType type, std::vector<std::int64_t> inner) {
    std::vector<std::int64_t> shape{setup.ragged ? setup.total() : setup.batch()};
    if (!setup.ragged && setup.tokens != 1) shape.push_back(setup.tokens);
    shape.insert(shape.end(), inner.begin(), inner.end());
    return create(type, std::move(shape));
  };
  const bool scalar = setup.settings.gate == KdaGate::scalar;
  const bool vk = setup.layout == KdaLayout::VK;
  using Extents = std::vector<std::int64_t>;
  KILN_TRY_ASSIGN(TrialTensor q, rows(setup.io, {h, k}));
  KILN_TRY_ASSIGN(TrialTensor key, rows(setup.io, {h, k}));
  KILN_TRY_ASSIGN(TrialTensor value, rows(setup.io, {hv, v}));
  KILN_TRY_ASSIGN(TrialTensor a, rows(setup.gate_io, scalar ? Extents{hv} : Extents{hv, k}));
  KILN_TRY_ASSIGN(TrialTensor b, rows(setup.gate_io, {hv}));
  KILN_TRY_ASSIGN(TrialTensor a_log, create(f32, {hv}));
  KILN_TRY_ASSIGN(TrialTensor dt_bias, create(f32, scalar ? Extents{hv} : Extents{hv, k}));
  KILN_TRY_ASSIGN(TrialTensor state, create(setup.state, {setup.pool, hv, vk ? v : k, vk ? k : v}));
  KILN_TRY_ASSIGN(TrialTensor slots, create(i32, {setup.batch()}));
  KILN_TRY_ASSIGN(TrialTensor starts, create(i32, {setup.batch() + 1}));
  KILN_TRY_ASSIGN(TrialTensor out, rows(setup.io, {hv, v}));
  return KdaTensors{std::move(q),     std::move(key),    std::move(value),   std::move(a),
                    std::move(b),     std::move(a_log),  std::move(dt_bias), std::move(state),
                    std::move(slots), std::move(starts), std::move(out)};
}

// Magnitudes as in a trained model: gates from almost open to almost shut.
void fill_inputs(KdaTensors& tensors, const KdaSetup& setup, Random& random) {
  const auto uniform = [&](float low, float high) {
    return [&random, low, high] { return random.uniform(low, high); };
  };
  const float qk = setup.settings.qk_l2norm ? 1.0F : 1.7F / std::sqrt(static_cast<float>(setup.k));
  tensors.q.fill(uniform(-qk, qk));
  tensors.k.fill(uniform(-qk, qk));
  tensors.v.fill(uniform(-1, 1));
  tensors.a.fill(setup.settings.gate == KdaGate::precomputed ? uniform(-5, 0) : uniform(-4, 4));
  tensors.b.fill(setup.settings.beta == KdaBeta::given ? uniform(0, 1) : uniform(-3, 3));
  tensors.a_log.fill([&] { return std::log(random.uniform(1, 16)); });
  tensors.dt_bias.fill(uniform(-4, 1));
  tensors.state.fill(uniform(-0.5F, 0.5F));
  fill_trial_slots(tensors.slots, setup.pool, random);
  const auto starts = starts_of(setup.lengths);
  std::copy(starts.begin(), starts.end(), tensors.starts.host_as<std::int32_t>());
}

class KdaDecodeTrial : public Trial {
 public:
  KdaDecodeTrial(TrialRequest request, KdaSetup setup, KdaTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        setup_(std::move(setup)),
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
    KdaDecodeArgs args{};
    args.q = tensors_.q.dl();
    args.k = tensors_.k.dl();
    args.v = tensors_.v.dl();
    args.a = tensors_.a.dl();
    args.b = tensors_.b.dl();
    args.gate = setup_.settings.gate;
    args.beta = setup_.settings.beta;
    args.layout = setup_.layout;
    if (args.gate != KdaGate::precomputed) {
      args.A_log = tensors_.a_log.dl();
      args.dt_bias = tensors_.dt_bias.dl();
    }
    args.state = tensors_.state.dl();
    args.slots = tensors_.slots.dl();
    args.out = tensors_.out.dl();
    args.qk_l2norm = setup_.settings.qk_l2norm;
    if (setup_.ragged) {
      args.cu_seqlens = tensors_.starts.dl();
      args.tokens_max = setup_.tokens;
    }
    return kda_decode(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.state.upload(*site_.driver));
    return tensors_.out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes state, tensors_.state.download(*site_.driver));
    Comparison out_error("out", "1 ulp + 1e-4 of the head's largest");
    Comparison state_error("state",
                           "half an ulp of bf16, if it is that, + 2e-5 sqrt(tokens) of the head's "
                           "largest; unused slots to the bit");
    std::vector<bool> used(static_cast<std::size_t>(setup_.pool));
    for (std::int64_t n = 0; n < setup_.batch(); ++n) {
      const std::int64_t slot = tensors_.slots.host_as<std::int32_t>()[n];
      const bool active = slot >= 0 && slot < setup_.pool;
      if (active) used[static_cast<std::size_t>(slot)] = true;
      for (std::int64_t hv = 0; hv < setup_.value_heads; ++hv) {
        if (active) {
          compare_head(n, hv, slot, out, state, out_error, state_error);
        } else {
          expect_zeros(n, hv, out, out_error);
        }
      }
    }
    compare_unused(used, state, state_error);
    return std::vector<OutputError>{out_error.result(), state_error.result()};
  }

  double bytes_moved() const override {
    const double state =
        static_cast<double>(setup_.active() * setup_.value_heads * setup_.state_elements()) *
        static_cast<double>(size_bytes_of(setup_.state)) * 2;
    const auto io = static_cast<std::int64_t>(size_bytes_of(setup_.io));
    const auto gate_io = static_cast<std::int64_t>(size_bytes_of(setup_.gate_io));
    const std::int64_t token = io * 2 * (setup_.heads * setup_.k + setup_.value_heads * setup_.v) +
                               gate_io * setup_.value_heads * (setup_.gates() + 1);
    return state + static_cast<double>(setup_.active_tokens() * token) +
           4.0 * static_cast<double>(setup_.value_heads * (setup_.gates() + 1));
  }
  // Decay 1, two products with the state 4, the update 2, the output's correction 1.
  double operations() const override {
    return 8.0 * static_cast<double>(setup_.active_tokens() * setup_.value_heads *
                                     setup_.state_elements());
  }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  std::int64_t first_token(std::int64_t n) const {
    return tensors_.starts.host_as<std::int32_t>()[n];
  }
  std::int64_t length(std::int64_t n) const { return setup_.lengths[static_cast<std::size_t>(n)]; }

  void expect_zeros(std::int64_t n, std::int64_t hv, const Bytes& out, Comparison& error) const {
    for (std::int64_t t = 0; t < length(n); ++t) {
      const std::int64_t first = ((first_token(n) + t) * setup_.value_heads + hv) * setup_.v;
      for (std::int64_t i = 0; i < setup_.v; ++i) {
        if (!(element_of(setup_.io, out.data(), first + i) == 0)) error.reject();
      }
    }
  }

  // Element [i, j] of the V x K matrix as it lies in memory.
  std::size_t at(std::size_t i, std::size_t j) const {
    const auto k = static_cast<std::size_t>(setup_.k);
    const auto v = static_cast<std::size_t>(setup_.v);
    return setup_.layout == KdaLayout::VK ? i * k + j : j * v + i;
  }
  std::vector<double> matrix_of(const std::byte* states, std::int64_t first) const {
    const auto stored = elements_of(setup_.state, states, first, setup_.state_elements());
    std::vector<double> matrix(stored.size());
    const auto k = static_cast<std::size_t>(setup_.k);
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = stored[at(i / k, i % k)];
    return matrix;
  }

  // The fp64 result of one head, against what was downloaded.
  void compare_head(std::int64_t n, std::int64_t hv, std::int64_t slot, const Bytes& out,
                    const Bytes& state, Comparison& out_error, Comparison& state_error) const {
    const std::int64_t first = (slot * setup_.value_heads + hv) * setup_.state_elements();
    std::vector<double> expected = matrix_of(bytes_of(tensors_.state), first);
    std::vector<double> expected_out(static_cast<std::size_t>(setup_.v));
    for (std::int64_t t = 0; t < length(n); ++t) {
      reference_token(first_token(n) + t, hv, expected, expected_out);
      const std::int64_t row = ((first_token(n) + t) * setup_.value_heads + hv) * setup_.v;
      const double allowed = kOutTolerance * largest_of(expected_out);
      for (std::int64_t i = 0; i < setup_.v; ++i) {
        const double want = expected_out[static_cast<std::size_t>(i)];
        out_error.add(element_of(setup_.io, out.data(), row + i), want,
                      allowed + 2 * half_ulp(setup_.io, want));
      }
    }
    const std::vector<double> after = matrix_of(state.data(), first);
    const double tokens = std::max(1.0, static_cast<double>(length(n)));
    const double allowed = kStateTolerance * std::sqrt(tokens) * largest_of(expected);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double rounding =
          setup_.state == ElementType::f32 ? 0 : half_ulp(setup_.state, expected[i]);
      state_error.add(after[i], expected[i], allowed + rounding);
    }
  }

  static const std::byte* bytes_of(const TrialTensor& tensor) {
    return tensor.host_as<std::byte>();
  }

  void reference_token(std::int64_t token, std::int64_t hv, std::vector<double>& state,
                       std::vector<double>& out) const {
    const std::int64_t h = hv / (setup_.value_heads / setup_.heads);
    const std::int64_t head = token * setup_.value_heads + hv;
    const std::int64_t qk = (token * setup_.heads + h) * setup_.k;
    const auto q = elements_of(setup_.io, bytes_of(tensors_.q), qk, setup_.k);
    const auto k = elements_of(setup_.io, bytes_of(tensors_.k), qk, setup_.k);
    const auto v = elements_of(setup_.io, bytes_of(tensors_.v), head * setup_.v, setup_.v);
    const std::int64_t gates = setup_.gates();
    const auto a = elements_of(setup_.gate_io, bytes_of(tensors_.a), head * gates, gates);
    const auto bias = elements_of(ElementType::f32, bytes_of(tensors_.dt_bias), hv * gates, gates);
    const double b = element_of(setup_.gate_io, bytes_of(tensors_.b), head);
    const double a_log = tensors_.a_log.host_as<float>()[hv];
    reference::kda_decode_head(setup_.settings, {q, k, v, a, bias, b, a_log}, state, out);
  }

  void compare_unused(const std::vector<bool>& used, const Bytes& state,
                      Comparison& state_error) const {
    const std::size_t slot_bytes =
        static_cast<std::size_t>(setup_.value_heads * setup_.state_elements()) *
        size_bytes_of(setup_.state);
    for (std::size_t slot = 0; slot < used.size(); ++slot) {
      if (used[slot]) continue;
      const std::size_t first = slot * slot_bytes;
      if (std::memcmp(state.data() + first, bytes_of(tensors_.state) + first, slot_bytes) != 0) {
        state_error.reject();
      }
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  KdaSetup setup_;
  KdaTensors tensors_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_kda_decode_trial(TrialRequest request) {
  Random random(request.seed);
  KdaSetup setup = setup_of(request.arguments, *request.selection.op, random);
  KILN_TRY_ASSIGN(KdaTensors tensors, create_tensors(request.site, setup));
  fill_inputs(tensors, setup, random);
  auto trial =
      std::make_unique<KdaDecodeTrial>(std::move(request), std::move(setup), std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
