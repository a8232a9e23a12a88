// SPDX-License-Identifier: Apache-2.0
#include "kiln/router_gemm.h"

#include <cmath>
#include <cstring>
#include <set>

#include "runtime/reference/comparison.h"
#include "runtime/reference/elements.h"
#include "runtime/reference/router_gemm.h"
#include "runtime/reference/trial_tensor.h"
#include "runtime/reference/trials.h"

namespace kiln {
namespace {

struct RouterSizes {
  std::int64_t tokens, experts, hidden;
};

struct RouterTypes {
  ElementType io, out, bias, correction;
  bool has_bias, has_correction;
};

// What the gate of a call is; `columns` of ids and weights, 0 without a gate.
struct RouterChoices {
  bool gated, softmax, renormalize, workspace;
  int n_group, topk_group, topk, shared_experts;
  int columns() const { return gated ? topk + shared_experts : 0; }
};

struct RouterTensors {
  TrialTensor a, w, bias, out, correction, ids, weights, workspace;
};

class RouterGemmTrial : public Trial {
 public:
  RouterGemmTrial(TrialRequest request, RouterSizes sizes, RouterTypes types, RouterChoices choices,
                  RouterTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        types_(types),
        choices_(choices),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
    options_.selected = &selection_;
  }

  Result<void> upload() {
    tensors_.workspace.fill([] { return 0.0F; });
    for (TrialTensor* tensor :
         {&tensors_.a, &tensors_.w, &tensors_.bias, &tensors_.correction, &tensors_.workspace}) {
      KILN_TRY(tensor->upload(*site_.driver));
    }
    return reset();
  }

  Result<void> launch() override {
    RouterGemmArgs args{};
    args.a = tensors_.a.dl();
    args.w = tensors_.w.dl();
    args.out = tensors_.out.dl();
    if (types_.has_bias) args.bias = tensors_.bias.dl();
    if (choices_.gated) args.gate = gate();
    if (choices_.workspace) args.workspace = tensors_.workspace.dl();
    return router_gemm(runtime_, args, options_);
  }

  Result<void> reset() override {
    KILN_TRY(tensors_.ids.poison(*site_.driver));
    KILN_TRY(tensors_.weights.poison(*site_.driver));
    return tensors_.out.poison(*site_.driver);
  }

  Result<std::vector<OutputError>> compare() override {
    KILN_TRY_ASSIGN(const Bytes out, tensors_.out.download(*site_.driver));
    Comparison error("out", "4e-7 sqrt(K) |a| |w| + half an ulp");
    const auto [tokens, experts, hidden] = sizes_;
    const auto a = elements_of(types_.io, tensors_.a.host_as<std::byte>(), 0, tokens * hidden);
    const auto w = elements_of(types_.io, tensors_.w.host_as<std::byte>(), 0, experts * hidden);
    std::vector<double> bias;
    if (types_.has_bias)
      bias = elements_of(types_.bias, tensors_.bias.host_as<std::byte>(), 0, experts);
    std::vector<double> expected(static_cast<std::size_t>(tokens * experts));
    reference::router_gemm({tokens, experts, hidden, a, w, bias}, expected);
    const std::vector<double> a_norms = norms_of(a);
    const std::vector<double> w_norms = norms_of(w);
    for (std::int64_t i = 0; i < tokens * experts; ++i) {
      const double value = expected[static_cast<std::size_t>(i)];
      const double sum_allowed =
          reference::router_gemm_allowed(hidden, a_norms[static_cast<std::size_t>(i / experts)],
                                         w_norms[static_cast<std::size_t>(i % experts)]);
      error.add(element_of(types_.out, out.data(), i), value,
                sum_allowed + half_ulp(types_.out, value));
    }
    std::vector<OutputError> errors{error.result()};
    if (choices_.gated) KILN_TRY(compare_gate(out, errors));
    return errors;
  }

  double bytes_moved() const override {
    const auto [tokens, experts, hidden] = sizes_;
    return static_cast<double>((tokens + experts) * hidden) *
               static_cast<double>(size_bytes_of(types_.io)) +
           static_cast<double>(tokens * experts) * static_cast<double>(size_bytes_of(types_.out));
  }
  double operations() const override {
    return 2.0 * static_cast<double>(sizes_.tokens) *
           static_cast<double>(sizes_.experts * sizes_.hidden);
  }
  std::string_view traffic() const override { return "read"; }
  const Selection& selection() const override { return selection_; }

 private:
  static constexpr float kScale = 2.5F;
  static constexpr float kSharedWeight = 0.75F;

  RouterGate gate() const {
    RouterGate gate;
    gate.scores = choices_.softmax ? RouterScores::softmax : RouterScores::sigmoid;
    gate.ids = tensors_.ids.dl();
    gate.weights = tensors_.weights.dl();
    if (types_.has_correction) gate.correction = tensors_.correction.dl();
    gate.n_group = choices_.n_group;
    gate.topk_group = choices_.topk_group;
    gate.shared_experts = choices_.shared_experts;
    gate.renormalize = choices_.renormalize;
    gate.scale = kScale;
    gate.shared_weight = kSharedWeight;
    return gate;
  }

  // From the logits that the call itself wrote: what they are worth is compared before.
  Result<void> compare_gate(const Bytes& out, std::vector<OutputError>& errors) const {
    KILN_TRY_ASSIGN(const Bytes ids, tensors_.ids.download(*site_.driver));
    KILN_TRY_ASSIGN(const Bytes weights, tensors_.weights.download(*site_.driver));
    Comparison id_error("ids", "exact, unless scores differ by less than 2e-6");
    Comparison weight_error("weights", "4e-6 of the weight");
    std::vector<double> correction;
    if (types_.has_correction) {
      correction = elements_of(types_.correction, tensors_.correction.host_as<std::byte>(), 0,
                               sizes_.experts);
    }
    for (std::int64_t m = 0; m < sizes_.tokens; ++m) {
      const auto logits = elements_of(types_.out, out.data(), m * sizes_.experts, sizes_.experts);
      const reference::RouterGateCall call{logits,
                                           correction,
                                           choices_.softmax,
                                           choices_.n_group,
                                           choices_.topk_group,
                                           choices_.topk,
                                           choices_.renormalize,
                                           kScale};
      const auto columns = static_cast<std::size_t>(choices_.columns());
      std::vector<int> row(columns);
      std::memcpy(row.data(), ids.data() + static_cast<std::size_t>(m) * columns * sizeof(int),
                  columns * sizeof(int));
      compare_ids(call, row, id_error);
      compare_weights(call, row, weights, m, weight_error);
    }
    errors.push_back(id_error.result());
    errors.push_back(weight_error.result());
    return {};
  }

  void compare_ids(const reference::RouterGateCall& call, const std::vector<int>& row,
                   Comparison& error) const {
    const auto topk = static_cast<std::size_t>(choices_.topk);
    const reference::RouterChoice choice = reference::router_choose(call);
    const bool decided = choice.margin > 2e-6;
    std::set<int> seen;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const auto shared = static_cast<int>(sizes_.experts) + static_cast<int>(i - topk);
      const bool right = i >= topk ? row[i] == shared
                         : decided ? row[i] == choice.ids[i]
                                   : row[i] >= 0 && row[i] < sizes_.experts;
      if (!right || !seen.insert(row[i]).second) error.reject();
    }
    error.add(0, 0, 1);
  }

  void compare_weights(const reference::RouterGateCall& call, const std::vector<int>& row,
                       const Bytes& weights, std::int64_t m, Comparison& error) const {
    const auto topk = static_cast<std::size_t>(choices_.topk);
    for (const int id : row) {
      if (id < 0 || id >= sizes_.experts + choices_.shared_experts) return;  // told by its ids
    }
    const auto expected = reference::router_weights(call, std::span(row).first(topk));
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double got = element_of(ElementType::f32, weights.data(),
                                    m * choices_.columns() + static_cast<std::int64_t>(i));
      const double value = i < topk ? expected[i] : double{kSharedWeight};
      error.add(got, value, 4e-6 * std::abs(value) + 1e-37);
    }
  }

  // Of each row of K elements.
  std::vector<double> norms_of(const std::vector<double>& matrix) const {
    std::vector<double> norms;
    const auto step = static_cast<std::size_t>(sizes_.hidden);
    for (std::size_t row = 0; row < matrix.size(); row += step) {
      double squares = 0;
      for (std::size_t i = row; i < row + step; ++i) squares += matrix[i] * matrix[i];
      norms.push_back(std::sqrt(squares));
    }
    return norms;
  }

  Runtime& runtime_;
  TrialSite site_;
  Selection selection_;
  RouterSizes sizes_;
  RouterTypes types_;
  RouterChoices choices_;
  RouterTensors tensors_;
  CallOptions options_;
};

Result<RouterTensors> create_tensors(const TrialSite& site, const RouterSizes& sizes,
                                     const RouterTypes& types, const RouterChoices& choices) {
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto [tokens, experts, hidden] = sizes;
  KILN_TRY_ASSIGN(TrialTensor a, create(types.io, {tokens, hidden}));
  KILN_TRY_ASSIGN(TrialTensor w, create(types.io, {experts, hidden}));
  KILN_TRY_ASSIGN(TrialTensor bias, create(types.bias, {experts}));
  KILN_TRY_ASSIGN(TrialTensor out, create(types.out, {tokens, experts}));
  KILN_TRY_ASSIGN(TrialTensor correction, create(types.correction, {experts}));
  KILN_TRY_ASSIGN(TrialTensor ids, create(ElementType::i32, {tokens, choices.columns()}));
  KILN_TRY_ASSIGN(TrialTensor weights, create(ElementType::f32, {tokens, choices.columns()}));
  RouterGemmArgs args{};
  args.a = a.dl();
  args.w = w.dl();
  KILN_TRY_ASSIGN(const std::int64_t floats, router_gemm_workspace_floats(args));
  KILN_TRY_ASSIGN(TrialTensor workspace, create(ElementType::f32, {floats}));
  return RouterTensors{std::move(a),       std::move(w),          std::move(bias),
                       std::move(out),     std::move(correction), std::move(ids),
                       std::move(weights), std::move(workspace)};
}

// Tokens as after a norm, weights as a linear layer is initialised: logits of a few units.
void fill_inputs(RouterTensors& tensors, const RouterSizes& sizes, std::uint64_t seed) {
  Random random(seed);
  const float spread = 2 / std::sqrt(static_cast<float>(sizes.hidden));
  tensors.a.fill([&] { return random.uniform(-2, 2); });
  tensors.w.fill([&] { return random.uniform(-spread, spread); });
  tensors.bias.fill([&] { return random.uniform(-1, 1); });
  tensors.correction.fill([&] { return random.uniform(-0.25F, 0.25F); });
}

}  // namespace

Result<std::unique_ptr<Trial>> make_router_gemm_trial(TrialRequest request) {
  const Shape& shape = request.arguments.shape;
  const RouterSizes sizes{request.arguments.call.integer("M"), shape.integer("N"),
                          shape.integer("K")};
  const Shape& call = request.arguments.call;
  const RouterTypes types{
      float_type_of(shape.word("io")),   float_type_of(shape.word("out")),
      float_type_of(shape.word("bias")), float_type_of(shape.word("correction")),
      shape.word("bias") != "none",      shape.word("correction") != "none"};
  const auto number = [](const Shape& of, const char* name) {
    return static_cast<int>(of.integer(name));
  };
  const RouterChoices choices{shape.word("gate") != "none", shape.word("gate") == "softmax",
                              call.flag("renormalize"),     call.flag("workspace"),
                              number(shape, "n_group"),     number(call, "topk_group"),
                              number(call, "topk"),         number(call, "shared_experts")};
  KILN_TRY_ASSIGN(RouterTensors tensors, create_tensors(request.site, sizes, types, choices));
  fill_inputs(tensors, sizes, request.seed);
  auto trial = std::make_unique<RouterGemmTrial>(std::move(request), sizes, types, choices,
                                                 std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
