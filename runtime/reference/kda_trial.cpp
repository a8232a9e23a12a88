// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/kda_trial.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/reference/elements.h"
#include "runtime/reference/sequence_lengths.h"
#include "runtime/reference/trial_slots.h"

namespace kiln {
namespace {

// The enumerator of a C++ enum whose order is that of the choices of a shape's word.
template <class Choice>
Choice choice_of(const Op& op, const Shape& shape, const std::string& name) {
  const auto spec = std::find_if(op.shape_params.begin(), op.shape_params.end(),
                                 [&](const ParamSpec& one) { return one.name == name; });
  const auto& all = spec->choices;
  return static_cast<Choice>(std::find(all.begin(), all.end(), shape.word(name)) - all.begin());
}

reference::KdaDecodeSettings settings_of(const Op& op, const Shape& shape) {
  reference::KdaDecodeSettings settings;
  settings.scale = 1 / std::sqrt(static_cast<double>(shape.integer("K")));
  settings.qk_l2norm = shape.flag("qk_l2norm");
  settings.gate = choice_of<KdaGate>(op, shape, "gate");
  settings.beta = choice_of<KdaBeta>(op, shape, "beta");
  return settings;
}

std::int64_t sum_of(const std::vector<std::int64_t>& lengths, std::int64_t first_ones) {
  return std::accumulate(lengths.begin(), lengths.begin() + first_ones, std::int64_t{0});
}

}  // namespace

std::int64_t KdaTrialSizes::active() const {
  return std::min(batch(), pool);
}

std::int64_t KdaTrialSizes::active_tokens() const {
  return sum_of(lengths, active());
}

double KdaTrialSizes::bytes_moved(int state_passes) const {
  const double states = static_cast<double>(active() * value_heads * state_elements()) *
                        static_cast<double>(size_bytes_of(state)) * state_passes;
  const std::int64_t token =
      static_cast<std::int64_t>(size_bytes_of(io)) * 2 * (heads * k + value_heads * v) +
      static_cast<std::int64_t>(size_bytes_of(gate_io)) * value_heads * (gates() + 1);
  return states + static_cast<double>(active_tokens()) * static_cast<double>(token) +
         4.0 * static_cast<double>(value_heads * (gates() + 1));
}

double KdaTrialSizes::operations() const {
  return 8.0 * static_cast<double>(active_tokens()) *
         static_cast<double>(value_heads * state_elements());
}

KdaTrialSizes kda_trial_sizes(const OpArguments& arguments, const Op& op, std::int64_t loose_tokens,
                              Random& random) {
  const Shape& shape = arguments.shape;
  const Shape& call = arguments.call;
  KdaTrialSizes sizes{};
  sizes.heads = shape.integer("H");
  sizes.value_heads = shape.integer("HV");
  sizes.k = shape.integer("K");
  sizes.v = shape.integer("V");
  sizes.pool = call.integer("pool") == 0 ? call.integer("batch") : call.integer("pool");
  sizes.tokens = call.integer("tokens");
  sizes.ragged = call.flag("ragged");
  sizes.lengths = sequence_lengths(call.integer("batch"), sizes.tokens, sizes.ragged, random);
  sizes.total = sum_of(sizes.lengths, sizes.batch()) + (sizes.ragged ? loose_tokens : 0);
  sizes.io = float_type_of(shape.word("io"));
  sizes.gate_io = float_type_of(shape.word("gate_io"));
  sizes.state = float_type_of(shape.word("state"));
  sizes.settings = settings_of(op, shape);
  sizes.layout = choice_of<KdaLayout>(op, shape, "layout");
  return sizes;
}

Result<void> KdaTrialTensors::upload_inputs(Driver& driver) {
  for (TrialTensor* tensor : {&q, &k, &v, &a, &b, &a_log, &dt_bias, &slots, &starts}) {
    KILN_TRY(tensor->upload(driver));
  }
  return {};
}

Result<void> KdaTrialTensors::reset(Driver& driver) {
  KILN_TRY(state.upload(driver));
  return out.poison(driver);
}

Result<KdaTrialTensors> create_kda_tensors(const TrialSite& site, const KdaTrialSizes& sizes,
                                           const std::vector<std::int64_t>& token_extents) {
  using enum ElementType;
  using Extents = std::vector<std::int64_t>;
  const auto create = [&](ElementType type, Extents shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto rows = [&](ElementType type, const Extents& inner) {
    Extents shape = token_extents;
    shape.insert(shape.end(), inner.begin(), inner.end());
    return create(type, std::move(shape));
  };
  const std::int64_t h = sizes.heads, hv = sizes.value_heads, k = sizes.k, v = sizes.v;
  const Extents gates = sizes.settings.gate == KdaGate::scalar ? Extents{hv} : Extents{hv, k};
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
  return KdaTrialTensors{std::move(q),     std::move(key),    std::move(value),   std::move(a),
                         std::move(b),     std::move(a_log),  std::move(dt_bias), std::move(state),
                         std::move(slots), std::move(starts), std::move(out)};
}

void fill_kda_inputs(KdaTrialTensors& tensors, const KdaTrialSizes& sizes, Random& random) {
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

void compare_unused_slots(const KdaTrialTensors& tensors, const KdaTrialSizes& sizes,
                          const Bytes& states, Comparison& error) {
  std::vector<bool> used(static_cast<std::size_t>(sizes.pool));
  for (std::int64_t n = 0; n < sizes.batch(); ++n) {
    const std::int64_t slot = tensors.slots.host_as<std::int32_t>()[n];
    if (sizes.is_active(slot)) used[static_cast<std::size_t>(slot)] = true;
  }
  const std::size_t slot_bytes =
      static_cast<std::size_t>(sizes.head_at(1, 0)) * size_bytes_of(sizes.state);
  const std::byte* before = tensors.state.host_as<std::byte>();
  for (std::size_t slot = 0; slot < used.size(); ++slot) {
    const std::size_t at = slot * slot_bytes;
    if (!used[slot] && std::memcmp(states.data() + at, before + at, slot_bytes) != 0) {
      error.reject();
    }
  }
}

double largest_of(const std::vector<double>& values) {
  double most = 1e-30;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

}  // namespace kiln
