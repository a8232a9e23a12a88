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
    RouterGemmArgs args{a.dl(), w.dl(), out.dl(), {}};
    if (bias) args.bias = bias->dl();
    return args;
  }
};

double norm_of(std::span<const double> row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

class RouterGemmTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm().available()) GTEST_SKIP() << llvm().why_not();
  }
  static test::LlvmRuntime& llvm() {
    static test::LlvmRuntime instance;
    return instance;
  }
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
