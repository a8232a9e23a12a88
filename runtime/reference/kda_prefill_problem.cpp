// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/kda_prefill_problem.h"

#include <cmath>

#include "runtime/reference/elements.h"
#include "runtime/reference/kda_trial.h"
#include "runtime/reference/sequence_lengths.h"
#include "runtime/reference/trial_slots.h"

namespace kiln {

KdaPrefillSizes kda_prefill_sizes(const OpArguments& arguments, const Op& op, Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  KdaPrefillSizes sizes{};
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

Result<KdaPrefillTensors> create_kda_prefill(const TrialSite& site, const KdaPrefillSizes& sizes) {
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
  return KdaPrefillTensors{std::move(q),       std::move(key),   std::move(value),
                           std::move(a),       std::move(b),     std::move(a_log),
                           std::move(dt_bias), std::move(state), std::move(slots),
                           std::move(starts),  std::move(out)};
}

void fill_kda_prefill(KdaPrefillTensors& tensors, const KdaPrefillSizes& sizes, Random& random) {
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

}  // namespace kiln
