// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <numeric>

#include "kiln/kda_decode.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/kda_decode.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

// fp32 state updated once: a few roundings of the largest element.
constexpr double kStateTolerance = 2e-5;
// Beyond the rounding of the output to bf16: fp32 sums over K.
constexpr double kOutTolerance = 1e-4;

struct KdaTensors {
  TrialTensor q, k, v, a, b, a_log, dt_bias, state, slots, out;
};

struct KdaSizes {
  std::int64_t batch, heads, value_heads, k, v, pool;
  std::int64_t state_elements() const { return v * k; }
};

KdaSizes sizes_of(const OpArguments& arguments) {
  const Shape& shape = arguments.shape;
  const std::int64_t batch = arguments.call.integer("batch");
  const std::int64_t pool = arguments.call.integer("pool");
  return {batch,
          shape.integer("H"),
          shape.integer("HV"),
          shape.integer("K"),
          shape.integer("V"),
          pool == 0 ? batch : pool};
}

Result<KdaTensors> create_tensors(const TrialSite& site, const KdaSizes& sizes) {
  using enum ElementType;
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto [n, h, hv, k, v, pool] = sizes;
  KILN_TRY_ASSIGN(TrialTensor q, create(bf16, {n, h, k}));
  KILN_TRY_ASSIGN(TrialTensor key, create(bf16, {n, h, k}));
  KILN_TRY_ASSIGN(TrialTensor value, create(bf16, {n, hv, v}));
  KILN_TRY_ASSIGN(TrialTensor a, create(bf16, {n, hv, k}));
  KILN_TRY_ASSIGN(TrialTensor b, create(bf16, {n, hv}));
  KILN_TRY_ASSIGN(TrialTensor a_log, create(f32, {hv}));
  KILN_TRY_ASSIGN(TrialTensor dt_bias, create(f32, {hv, k}));
  KILN_TRY_ASSIGN(TrialTensor state, create(f32, {pool, hv, v, k}));
  KILN_TRY_ASSIGN(TrialTensor slots, create(i32, {n}));
  KILN_TRY_ASSIGN(TrialTensor out, create(bf16, {n, hv, v}));
  return KdaTensors{std::move(q),     std::move(key),   std::move(value),   std::move(a),
                    std::move(b),     std::move(a_log), std::move(dt_bias), std::move(state),
                    std::move(slots), std::move(out)};
}

// Each sequence gets a slot of its own, in random order; those beyond the pool are inactive.
void fill_slots(TrialTensor& slots, const KdaSizes& sizes, Random& random) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(std::max(sizes.pool, sizes.batch)), -1);
  std::iota(order.begin(), order.begin() + sizes.pool, 0);
  for (std::int64_t i = sizes.pool - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[random.next() % (static_cast<std::uint64_t>(i) + 1)]);
  }
  if (sizes.batch > 0) std::memcpy(slots.host().data(), order.data(), slots.host().size());
}

// Magnitudes as in a trained model: gates from almost open to almost shut.
void fill_inputs(KdaTensors& tensors, const KdaSizes& sizes, std::uint64_t seed) {
  Random random(seed);
  const auto uniform = [&](float low, float high) {
    return [&random, low, high] { return random.uniform(low, high); };
  };
  tensors.q.fill(uniform(-1, 1));
  tensors.k.fill(uniform(-1, 1));
  tensors.v.fill(uniform(-1, 1));
  tensors.a.fill(uniform(-4, 4));
  tensors.b.fill(uniform(-3, 3));
  tensors.a_log.fill([&] { return std::log(random.uniform(1, 16)); });
  tensors.dt_bias.fill(uniform(-4, 1));
  tensors.state.fill(uniform(-0.5F, 0.5F));
  fill_slots(tensors.slots, sizes, random);
}

std::vector<double> widen(const TrialTensor& tensor, std::int64_t first, std::int64_t count) {
  std::vector<double> wide(static_cast<std::size_t>(count));
  const auto* bits = tensor.host_as<std::uint16_t>() + first;
  std::transform(bits, bits + count, wide.begin(),
                 [](std::uint16_t x) { return float_of_bf16(x); });
  return wide;
}

class KdaDecodeTrial : public Trial {
 public:
  KdaDecodeTrial(TrialRequest request, KdaSizes sizes, KdaTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        tensors_(std::move(tensors)),
        l2norm_(request.arguments.shape.flag("qk_l2norm")) {
    options_.arch = request.arch;
  }

  Result<void> upload() {
    for (TrialTensor* tensor : {&tensors_.q, &tensors_.k, &tensors_.v, &tensors_.a, &tensors_.b,
                                &tensors_.a_log, &tensors_.dt_bias, &tensors_.slots}) {
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
    args.A_log = tensors_.a_log.dl();
    args.dt_bias = tensors_.dt_bias.dl();
    args.state = tensors_.state.dl();
    args.slots = tensors_.slots.dl();
    args.out = tensors_.out.dl();
    args.qk_l2norm = l2norm_;
    return kda_decode(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.state.upload(*site_.driver));
    return tensors_.out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out, tensors_.out.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes state, tensors_.state.download(*site_.driver));
    Comparison out_error("out", "1 bf16 ulp + 1e-4 of the head's largest");
    Comparison state_error("state", "2e-5 of the head's largest; unused slots to the bit");
    std::vector<bool> used(static_cast<std::size_t>(sizes_.pool));
    for (std::int64_t n = 0; n < sizes_.batch; ++n) {
      const std::int64_t slot = tensors_.slots.host_as<std::int32_t>()[n];
      const bool active = slot >= 0 && slot < sizes_.pool;
      if (active) used[static_cast<std::size_t>(slot)] = true;
      for (std::int64_t hv = 0; hv < sizes_.value_heads; ++hv) {
        compare_head(n, hv, active ? slot : -1, out, state, out_error, state_error);
      }
    }
    compare_unused(used, state, state_error);
    return std::vector<OutputError>{out_error.result(), state_error.result()};
  }

  double bytes_moved() const override {
    const double heads = static_cast<double>(active() * sizes_.value_heads);
    const double state = heads * static_cast<double>(sizes_.state_elements()) * 4 * 2;
    const double activations =
        static_cast<double>(active()) * 2 *
        static_cast<double>(2 * sizes_.heads * sizes_.k +
                            sizes_.value_heads * (2 * sizes_.v + sizes_.k + 1));
    return state + activations + 4.0 * static_cast<double>(sizes_.value_heads * (sizes_.k + 1));
  }
  // Decay 1, two products with the state 4, the update 2, the output's correction 1.
  double operations() const override {
    return 8.0 * static_cast<double>(active() * sizes_.value_heads * sizes_.state_elements());
  }
  std::string_view traffic() const override { return "read-modify-write"; }
  const Selection& selection() const override { return selection_; }

 private:
  std::int64_t active() const { return std::min(sizes_.batch, sizes_.pool); }

  // The fp64 result of one head, against what was downloaded. `slot` < 0: inactive.
  void compare_head(std::int64_t n, std::int64_t hv, std::int64_t slot, const Bytes& out,
                    const Bytes& state, Comparison& out_error, Comparison& state_error) const {
    const auto* got = reinterpret_cast<const std::uint16_t*>(out.data()) +
                      (n * sizes_.value_heads + hv) * sizes_.v;
    if (slot < 0) {
      for (std::int64_t i = 0; i < sizes_.v; ++i) {
        if (float_of_bf16(got[i]) != 0) out_error.reject();
      }
      return;
    }
    const std::int64_t first = (slot * sizes_.value_heads + hv) * sizes_.state_elements();
    const float* before = tensors_.state.host_as<float>() + first;
    std::vector<double> expected_state(before, before + sizes_.state_elements());
    std::vector<double> expected_out(static_cast<std::size_t>(sizes_.v));
    reference_head(n, hv, expected_state, expected_out);
    const auto largest = [](const std::vector<double>& values) {
      double most = 1e-30;
      for (const double value : values) most = std::max(most, std::abs(value));
      return most;
    };
    const double out_allowed = kOutTolerance * largest(expected_out);
    for (std::size_t i = 0; i < expected_out.size(); ++i) {
      out_error.add(float_of_bf16(got[i]), expected_out[i],
                    out_allowed + bf16_ulp(expected_out[i]));
    }
    const double state_allowed = kStateTolerance * largest(expected_state);
    const float* after = reinterpret_cast<const float*>(state.data()) + first;
    for (std::size_t i = 0; i < expected_state.size(); ++i) {
      state_error.add(after[i], expected_state[i], state_allowed);
    }
  }

  void reference_head(std::int64_t n, std::int64_t hv, std::vector<double>& state,
                      std::vector<double>& out) const {
    const std::int64_t h = hv / (sizes_.value_heads / sizes_.heads);
    const std::int64_t token_head = n * sizes_.value_heads + hv;
    const auto q = widen(tensors_.q, (n * sizes_.heads + h) * sizes_.k, sizes_.k);
    const auto k = widen(tensors_.k, (n * sizes_.heads + h) * sizes_.k, sizes_.k);
    const auto v = widen(tensors_.v, token_head * sizes_.v, sizes_.v);
    const auto a = widen(tensors_.a, token_head * sizes_.k, sizes_.k);
    const float* bias = tensors_.dt_bias.host_as<float>() + hv * sizes_.k;
    const std::vector<double> dt_bias(bias, bias + sizes_.k);
    reference::KdaDecodeSettings settings;
    settings.scale = 1 / std::sqrt(static_cast<double>(sizes_.k));
    settings.qk_l2norm = l2norm_;
    const double b = float_of_bf16(tensors_.b.host_as<std::uint16_t>()[token_head]);
    const double a_log = tensors_.a_log.host_as<float>()[hv];
    reference::kda_decode_head(settings, {q, k, v, a, dt_bias, b, a_log}, state, out);
  }

  void compare_unused(const std::vector<bool>& used, const Bytes& state,
                      Comparison& state_error) const {
    const std::size_t slot_bytes =
        static_cast<std::size_t>(sizes_.value_heads * sizes_.state_elements()) * sizeof(float);
    const std::byte* before = reinterpret_cast<const std::byte*>(tensors_.state.host_as<float>());
    for (std::size_t slot = 0; slot < used.size(); ++slot) {
      if (used[slot]) continue;
      const std::size_t at = slot * slot_bytes;
      if (std::memcmp(state.data() + at, before + at, slot_bytes) != 0) state_error.reject();
    }
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  KdaSizes sizes_;
  KdaTensors tensors_;
  bool l2norm_;
  CallOptions options_;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_kda_decode_trial(TrialRequest request) {
  const KdaSizes sizes = sizes_of(request.arguments);
  KILN_TRY_ASSIGN(KdaTensors tensors, create_tensors(request.site, sizes));
  fill_inputs(tensors, sizes, request.seed);
  auto trial = std::make_unique<KdaDecodeTrial>(std::move(request), sizes, std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
