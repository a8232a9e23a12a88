// SPDX-License-Identifier: Apache-2.0
#include "kiln/router_gemm.h"

#include <cmath>

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
  ElementType io, out, bias;
  bool has_bias;
};

struct RouterTensors {
  TrialTensor a, w, bias, out;
};

class RouterGemmTrial : public Trial {
 public:
  RouterGemmTrial(TrialRequest request, RouterSizes sizes, RouterTypes types, RouterTensors tensors)
      : runtime_(request.runtime),
        site_(request.site),
        selection_(std::move(request.selection)),
        sizes_(sizes),
        types_(types),
        tensors_(std::move(tensors)) {
    options_.arch = request.arch;
    options_.stream = request.stream;
  }

  Result<void> upload() {
    for (TrialTensor* tensor : {&tensors_.a, &tensors_.w, &tensors_.bias}) {
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
    return router_gemm(runtime_, args, options_);
  }

  Result<void> reset() override { return tensors_.out.poison(*site_.driver); }

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
    return std::vector<OutputError>{error.result()};
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
  RouterTensors tensors_;
  CallOptions options_;
};

Result<RouterTensors> create_tensors(const TrialSite& site, const RouterSizes& sizes,
                                     const RouterTypes& types) {
  const auto create = [&](ElementType type, std::vector<std::int64_t> shape) {
    return TrialTensor::create(*site.driver, site.device, type, std::move(shape));
  };
  const auto [tokens, experts, hidden] = sizes;
  KILN_TRY_ASSIGN(TrialTensor a, create(types.io, {tokens, hidden}));
  KILN_TRY_ASSIGN(TrialTensor w, create(types.io, {experts, hidden}));
  KILN_TRY_ASSIGN(TrialTensor bias, create(types.bias, {experts}));
  KILN_TRY_ASSIGN(TrialTensor out, create(types.out, {tokens, experts}));
  return RouterTensors{std::move(a), std::move(w), std::move(bias), std::move(out)};
}

// Tokens as after a norm, weights as a linear layer is initialised: logits of a few units.
void fill_inputs(RouterTensors& tensors, const RouterSizes& sizes, std::uint64_t seed) {
  Random random(seed);
  const float spread = 2 / std::sqrt(static_cast<float>(sizes.hidden));
  tensors.a.fill([&] { return random.uniform(-2, 2); });
  tensors.w.fill([&] { return random.uniform(-spread, spread); });
  tensors.bias.fill([&] { return random.uniform(-1, 1); });
}

}  // namespace

Result<std::unique_ptr<Trial>> make_router_gemm_trial(TrialRequest request) {
  const Shape& shape = request.arguments.shape;
  const RouterSizes sizes{request.arguments.call.integer("M"), shape.integer("N"),
                          shape.integer("K")};
  const RouterTypes types{float_type_of(shape.word("io")), float_type_of(shape.word("out")),
                          float_type_of(shape.word("bias")), shape.word("bias") != "none"};
  KILN_TRY_ASSIGN(RouterTensors tensors, create_tensors(request.site, sizes, types));
  fill_inputs(tensors, sizes, request.seed);
  auto trial =
      std::make_unique<RouterGemmTrial>(std::move(request), sizes, types, std::move(tensors));
  KILN_TRY(trial->upload());
  return trial;
}

}  // namespace kiln
