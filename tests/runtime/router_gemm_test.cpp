// SPDX-License-Identifier: Apache-2.0
// The public router_gemm: where its tensors may lie, numbers at the edges, and what it says of
// tensors that it cannot take.
#include "kiln/router_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "runtime/reference/comparison.h"
#include "runtime/reference/router_gemm.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::StridedTensor;
using enum ElementType;

constexpr std::int64_t kTokens = 5, kExperts = 10, kHidden = 72;

struct Problem {
  StridedTensor a{bf16, {kTokens, kHidden}};
  StridedTensor w{bf16, {kExperts, kHidden}};
  StridedTensor out{f32, {kTokens, kExperts}};
  std::optional<StridedTensor> bias;

  void fill() {
    Random random(9);
    for (StridedTensor* tensor : {&a, &w}) {
      tensor->fill([&] { return random.uniform(-1, 1); });
    }
    if (bias) bias->fill([&] { return random.uniform(-9, 9); });
  }
  RouterGemmArgs args() {
    RouterGemmArgs args{a.dl(), w.dl(), out.dl(), {}, {}, {}};
    if (bias) args.bias = bias->dl();
    return args;
  }
};

double norm_of(std::span<const double> row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

class RouterGemmTest : public test::LlvmTest {
 protected:
  static void call(const RouterGemmArgs& args) {
    const auto done = router_gemm(llvm().runtime(), args);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
  static void run_and_compare(Problem& problem) {
    const std::vector<double> a = problem.a.values(), w = problem.w.values();
    const std::int64_t tokens = problem.a.shape()[0], experts = problem.w.shape()[0];
    const auto hidden = static_cast<std::size_t>(problem.w.shape()[1]);
    std::vector<double> bias;
    if (problem.bias) bias = problem.bias->values();
    std::vector<double> expected(static_cast<std::size_t>(tokens * experts));
    reference::router_gemm({tokens, experts, problem.w.shape()[1], a, w, bias}, expected);
    call(problem.args());
    const std::vector<double> got = problem.out.values();
    Comparison error("out", "the reference's rule and half an ulp");
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::size_t m = i / static_cast<std::size_t>(experts);
      const std::size_t n = i % static_cast<std::size_t>(experts);
      const double sum = reference::router_gemm_allowed(
          problem.w.shape()[1], norm_of(std::span(a).subspan(m * hidden, hidden)),
          norm_of(std::span(w).subspan(n * hidden, hidden)));
      const double own = std::isfinite(expected[i]) ? expected[i] : 0;
      error.add(got[i], expected[i], sum + half_ulp(problem.out.type(), own));
    }
    EXPECT_TRUE(error.result().passed()) << error.result().bound_ratio;
    EXPECT_TRUE(problem.out.rest_is_untouched());
  }
};

TEST_F(RouterGemmTest, RowsLieAnywhere) {
  Problem problem;
  problem.a = StridedTensor(bf16, {kTokens, kHidden}, {kHidden + 5, 1}, 3);
  problem.w = StridedTensor(bf16, {kExperts, kHidden}, {kHidden + 9, 1}, 1);
  problem.out = StridedTensor(f32, {kTokens, kExperts}, {kExperts + 3, 1}, 5);
  problem.fill();
  run_and_compare(problem);
}

TEST_F(RouterGemmTest, AbsentStridesAreDenseOnesAndASingleTokenMayHaveAny) {
  Problem dense;
  dense.a = StridedTensor(bf16, {1, kHidden});
  dense.out = StridedTensor(f32, {1, kExperts});
  dense.fill();
  run_and_compare(dense);
  Problem other = dense;
  other.out = StridedTensor(f32, {1, kExperts});
  RouterGemmArgs args = other.args();
  std::int64_t wild[] = {std::int64_t{1} << 40, 1};
  args.a.strides = wild;
  args.w.strides = nullptr;
  args.out.strides = wild;
  call(args);
  EXPECT_EQ(other.out.memory(), dense.out.memory());
}

TEST_F(RouterGemmTest, EverySizeAroundATile) {
  for (const std::int64_t hidden : {1, 15, 16, 17, 40}) {
    for (const std::int64_t experts : {1, 4, 7}) {
      for (const std::int64_t tokens : {0, 1, 2, 3, 4, 5, 31, 32, 33, 70}) {
        SCOPED_TRACE(fmt::format("M={} N={} K={}", tokens, experts, hidden));
        Problem problem;
        problem.a = StridedTensor(bf16, {tokens, hidden});
        problem.w = StridedTensor(bf16, {experts, hidden});
        problem.out = StridedTensor(f32, {tokens, experts}, {experts + 1, 1});
        problem.fill();
        run_and_compare(problem);
      }
    }
  }
}

TEST_F(RouterGemmTest, TypesOfTensorsOutputAndBias) {
  for (const ElementType io : {bf16, f16}) {
    for (const ElementType out : {f32, bf16, f16}) {
      const ElementType bias = out == bf16 ? f16 : out == f16 ? f32 : bf16;
      SCOPED_TRACE(fmt::format("{} {} {}", name_of(io), name_of(out), name_of(bias)));
      Problem problem;
      problem.a = StridedTensor(io, {kTokens, kHidden});
      problem.w = StridedTensor(io, {kExperts, kHidden});
      problem.out = StridedTensor(out, {kTokens, kExperts});
      problem.bias.emplace(bias, StridedTensor::Index{kExperts});
      problem.fill();
      run_and_compare(problem);
    }
  }
}

// Terms of 1e4 that cancel: what is left is far below them, and must not be lost.
TEST_F(RouterGemmTest, SumsInFloatWhatCancels) {
  Problem problem;
  problem.fill();
  int a = 0, w = 0;
  problem.a.fill([&] { return a++ % 2 == 0 ? 256.0F : 1.0F; });
  problem.w.fill([&] {
    const int k = w++ % static_cast<int>(kHidden);
    return k % 2 != 0 ? 1.0F / 256 : k % 4 == 0 ? 64.0F : -64.0F;
  });
  run_and_compare(problem);
  for (const double value : problem.out.values()) EXPECT_EQ(value, 36.0 / 256);
}

TEST_F(RouterGemmTest, NanAndInfinityReachTheirOwnOutputsAlone) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float spoiler : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    Problem problem;
    problem.fill();
    int a = 0, w = 0;
    problem.a.fill([&] { return a++ == 3 * kHidden + 71 ? spoiler : 1.0F; });
    problem.w.fill([&] { return w++ == 7 * kHidden ? spoiler : 1.0F; });
    run_and_compare(problem);
  }
}

TEST_F(RouterGemmTest, ANewNumberOfTokensOrStrideCompilesNothing) {
  Problem problem;
  problem.fill();
  run_and_compare(problem);
  const Counters before = llvm().runtime().counters();
  for (const std::int64_t tokens : {0, 1, 64, 300}) {
    Problem other;
    other.a = StridedTensor(bf16, {tokens, kHidden}, {kHidden + tokens, 1});
    other.out = StridedTensor(f32, {tokens, kExperts});
    other.fill();
    run_and_compare(other);
  }
  EXPECT_EQ(llvm().runtime().counters().compiles, before.compiles);
}

// A gate over logits that are given number by number: K is the number of tokens, and `a` the
// identity, so that column m of w is what token m gets.
struct GateProblem {
  GateProblem(std::int64_t experts, const std::vector<std::vector<float>>& logits, int topk)
      : tokens(static_cast<std::int64_t>(logits.size())),
        a(bf16, {tokens, tokens}),
        w(bf16, {experts, tokens}),
        out(f32, {tokens, experts}),
        ids(i32, {tokens, topk}, {topk + 3, 1}, 1),
        weights(f32, {tokens, topk}, {topk + 1, 1}, 2) {
    std::int64_t i = 0;
    a.fill([&] { return i++ % (tokens + 1) == 0 ? 1.0F : 0.0F; });
    i = 0;
    w.fill([&] {
      const float logit =
          logits[static_cast<std::size_t>(i % tokens)][static_cast<std::size_t>(i / tokens)];
      ++i;
      return logit;
    });
  }
  RouterGemmArgs args() {
    RouterGemmArgs args{a.dl(), w.dl(), out.dl(), {}, {}, {}};
    args.gate = gate;
    args.gate->ids = ids.dl();
    args.gate->weights = weights.dl();
    return args;
  }
  std::vector<int> ids_of(std::int64_t token) const {
    const auto all = ids.values_as<std::int32_t>();
    const auto topk = static_cast<std::size_t>(ids.shape()[1]);
    const auto begin = all.begin() + token * static_cast<std::int64_t>(topk);
    return {begin, begin + static_cast<std::int64_t>(topk)};
  }

  std::int64_t tokens;
  StridedTensor a, w, out, ids, weights;
  RouterGate gate{};
};

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_F(RouterGemmTest, EqualScoresGoToTheLowerIndex) {
  GateProblem problem(6, {{1, 1, 1, 1, 1, 1}, {0, 2, 1, 2, 1, 2}, {-1, 5, 0, -1, -1, -0.0F}}, 4);
  call(problem.args());
  EXPECT_EQ(problem.ids_of(0), (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(problem.ids_of(1), (std::vector{1, 3, 5, 2}));
  EXPECT_EQ(problem.ids_of(2), (std::vector{1, 2, 5, 0}));
  EXPECT_TRUE(problem.ids.rest_is_untouched());
  EXPECT_TRUE(problem.weights.rest_is_untouched());
}

// One-hot tokens would spread a NaN over all tokens, so NaN come in by the bias.
TEST_F(RouterGemmTest, NanScoresAreChosenLastAndShowInTheWeights) {
  GateProblem problem(6, {{0, 0, 0, 0, 0, 0}}, 3);
  StridedTensor bias(f32, {6});
  const float values[] = {kNan, -1, kNan, -kInfinity, kNan, kNan};
  int i = 0;
  bias.fill([&] { return values[i++]; });
  RouterGemmArgs args = problem.args();
  args.bias = bias.dl();
  call(args);
  EXPECT_EQ(problem.ids_of(0), (std::vector{1, 3, 0}));
  args.gate->renormalize = false;
  call(args);
  EXPECT_NEAR(problem.weights.values()[0], 1 / (1 + std::exp(1.0)), 1e-6);
  EXPECT_EQ(problem.weights.values()[1], 0);
  EXPECT_TRUE(std::isnan(problem.weights.values()[2]));
}

TEST_F(RouterGemmTest, EqualGroupsGoToTheLowerIndex) {
  GateProblem problem(8, {{1, 2, 2, 1, 9, -9, 1, 2}, {0, 0, 3, 3, 3, 3, 0, 0}}, 3);
  problem.gate.n_group = 4;
  problem.gate.topk_group = 2;
  call(problem.args());
  // By sigmoid, 9 and -9 sum to 1: less than any other pair here.
  EXPECT_EQ(problem.ids_of(0), (std::vector{1, 2, 0}));
  EXPECT_EQ(problem.ids_of(1), (std::vector{2, 3, 4}));
}

TEST_F(RouterGemmTest, ACorrectionChoosesAndDoesNotWeigh) {
  GateProblem problem(4, {{0, 0, 0, 0}}, 2);
  StridedTensor correction(f32, {4});
  int n = 0;
  correction.fill([&] { return 0.25F * static_cast<float>(n++); });
  RouterGemmArgs args = problem.args();
  args.gate->correction = correction.dl();
  args.gate->scale = 2.5F;
  call(args);
  EXPECT_EQ(problem.ids_of(0), (std::vector{3, 2}));
  EXPECT_NEAR(problem.weights.values()[0], 1.25, 1e-6);
  args.gate->renormalize = false;
  call(args);
  EXPECT_NEAR(problem.weights.values()[0], 1.25, 1e-6);
  EXPECT_NEAR(problem.weights.values()[1], 1.25, 1e-6);
}

// A workspace of the counters alone: K is shared out as without one, the gate is in the same
// launch.
TEST_F(RouterGemmTest, OneLaunchAndTwoGiveTheSameBits) {
  for (const char* arch : {"simt", "simt:warp64"}) {
    for (const std::int64_t tokens : {2, 13}) {
      SCOPED_TRACE(fmt::format("{} M={}", arch, tokens));
      Random random(7);
      StridedTensor a(bf16, {tokens, 64}), w(bf16, {32, 64}), out(f32, {tokens, 32});
      for (StridedTensor* tensor : {&a, &w}) tensor->fill([&] { return random.uniform(-1, 1); });
      StridedTensor ids(i32, {tokens, 4}), weights(f32, {tokens, 4}), workspace(f32, {1024});
      workspace.fill([] { return 0.0F; });
      RouterGemmArgs args{a.dl(), w.dl(), out.dl(), {}, RouterGate{}, {}};
      args.gate->ids = ids.dl();
      args.gate->weights = weights.dl();
      CallOptions options;
      options.arch = *Arch::parse(arch);
      const auto two = router_gemm(llvm().runtime(), args, options);
      ASSERT_TRUE(two) << two.error().message << two.error().log;
      const StridedTensor expected_ids = ids, expected_weights = weights;
      for (int call = 0; call < 2; ++call) {  // the second finds the counters as the first did
        for (StridedTensor* tensor : {&ids, &weights}) tensor->fill([] { return -1.0F; });
        args.workspace = workspace.dl();
        ASSERT_TRUE(router_gemm(llvm().runtime(), args, options));
        EXPECT_EQ(ids.memory(), expected_ids.memory());
        EXPECT_EQ(weights.memory(), expected_weights.memory());
      }
      for (const double word : workspace.values()) EXPECT_EQ(word, 0);
    }
  }
}

TEST_F(RouterGemmTest, SaysWhatOfAGateDoesNotFit) {
  struct Case {
    std::function<void(RouterGate&, GateProblem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& gate, auto&) { gate.ids.data = nullptr; }, "tensor 'ids' has no data"},
      {[](auto& gate, auto&) { gate.ids.ndim = 1; }, "tensor 'ids' has 1 dimensions, not 2"},
      {[](auto& gate, auto&) { gate.ids = {}; }, "tensor 'ids' has 0 dimensions, not 2"},
      {[](auto& gate, auto&) {
         gate.ids.dtype = {kDLInt, 64, 1};
       },
       "tensor 'ids' holds i64, not i32"},
      {[](auto& gate, auto&) {
         gate.weights.dtype = {kDLBfloat, 16, 1};
       },
       "tensor 'weights' holds bf16, not f32"},
      {[](auto&, auto& problem) { problem.weights.shape()[1] = 2; },
       "tensor 'weights' has shape [2, 2], not [M=2, topk + shared_experts=3]"},
      {[](auto& gate, auto&) { gate.shared_experts = 3; }, "topk is 0; 1 to 32 are taken"},
      {[](auto& gate, auto&) { gate.shared_experts = -1; }, "shared_experts is -1"},
      {[](auto&, auto& problem) { problem.ids.shape()[1] = 9; }, "topk is 9"},
      {[](auto& gate, auto&) { gate.n_group = 3; }, "n_group is 3; 8 experts"},
      {[](auto& gate, auto&) { gate.n_group = 8; }, "n_group is 8; 8 experts"},
      {[](auto& gate, auto&) { gate.topk_group = 2; }, "topk_group is 2 of 1 groups"},
      {[](auto& gate, auto&) { gate.n_group = 4; }, "of 2 experts in the kept groups"},
      {[](auto& gate, auto&) {
         gate.weights.device = {kDLROCM, 0};
       },
       "tensor 'weights' is on ROCm device 0, but 'a' is on the CPU"},
  };
  for (const Case& one : cases) {
    GateProblem problem(8, {{1, 2, 3, 4, 5, 6, 7, 8}, {1, 1, 1, 1, 1, 1, 1, 1}}, 3);
    RouterGemmArgs args = problem.args();
    one.spoil(*args.gate, problem);
    const auto done = router_gemm(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

TEST_F(RouterGemmTest, SaysWhichTensorDoesNotFit) {
  struct Case {
    std::function<void(RouterGemmArgs&, Problem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& args, auto&) { args.a.data = nullptr; }, "tensor 'a' has no data"},
      {[](auto& args, auto&) { args.w.data = nullptr; }, "tensor 'w' has no data"},
      {[](auto& args, auto&) { args.bias->data = nullptr; }, "tensor 'bias' has no data"},
      {[](auto& args, auto&) { args.w.ndim = 3; }, "tensor 'w' has 3 dimensions, not 2"},
      {[](auto& args, auto&) {
         args.a.dtype = {kDLFloat, 32, 1};
       },
       "tensor 'a' holds f32, not bf16"},
      {[](auto& args, auto&) {
         args.w.dtype = {kDLFloat, 16, 1};
       },
       "tensor 'w' holds f16, not bf16"},
      {[](auto& args, auto&) {
         args.out.dtype = {kDLInt, 32, 1};
       },
       "tensor 'out' holds i32, not f32"},
      {[](auto&, auto& problem) { problem.a.shape()[1] = 71; }, "tensor 'a' has shape [5, 71]"},
      {[](auto&, auto& problem) { problem.out.shape()[0] = 4; }, "tensor 'out' has shape [4, 10]"},
      {[](auto&, auto& problem) { problem.bias->shape()[0] = 9; },
       "tensor 'bias' has shape [9], not [N=10]"},
      {[](auto&, auto& problem) { problem.w.shape()[1] = 0; }, "tensor 'w' has K=0; 1 to"},
      {[](auto&, auto& problem) { problem.w.shape()[0] = 0; }, "tensor 'w' has N=0; 1 to"},
      {[](auto&, auto& problem) { problem.w.strides()[1] = 3; }, "tensor 'w' has stride 3"},
      {[](auto& args, auto&) {
         args.w.device = {kDLCUDA, 0};
       },
       "tensor 'w' is on CUDA device 0, but 'a' is on the CPU"},
      {[](auto& args, auto&) { args.out.byte_offset = 2; }, "tensor 'out' is not aligned"},
  };
  for (const Case& one : cases) {
    Problem problem;
    problem.bias.emplace(f32, StridedTensor::Index{kExperts});
    RouterGemmArgs args = problem.args();
    one.spoil(args, problem);
    const auto done = router_gemm(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

}  // namespace
}  // namespace kiln
