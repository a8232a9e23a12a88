// SPDX-License-Identifier: Apache-2.0
// The public qk_rmsnorm: where its tensors may lie, numbers at the edges, and what it says of
// tensors that it cannot take.
#include "kiln/qk_rmsnorm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "runtime/reference/comparison.h"
#include "runtime/reference/qk_rmsnorm.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::StridedTensor;
using enum ElementType;

constexpr std::int64_t kRows = 5, kQ = 72, kK = 37;

struct Problem {
  StridedTensor q{bf16, {kRows, kQ}};
  StridedTensor k{bf16, {kRows, kK}};
  StridedTensor q_weight{bf16, {kQ}};
  StridedTensor k_weight{bf16, {kK}};
  StridedTensor q_out{bf16, {kRows, kQ}};
  StridedTensor k_out{bf16, {kRows, kK}};
  float q_eps = 1e-6F;
  float k_eps = 1e-6F;
  bool weight_bias = false;

  void fill(float magnitude = 1) {
    Random random(5);
    for (StridedTensor* tensor : {&q, &k}) {
      tensor->fill([&] { return magnitude * random.uniform(-1, 1); });
    }
    for (StridedTensor* tensor : {&q_weight, &k_weight}) {
      tensor->fill([&] { return random.uniform(-2, 2); });
    }
  }

  QkRmsnormArgs args() {
    return {q.dl(),     k.dl(), q_weight.dl(), k_weight.dl(), q_out.dl(),
            k_out.dl(), q_eps,  k_eps,         weight_bias,   {},
            {}};
  }
};

std::vector<double> expected_of(const StridedTensor& in, const StridedTensor& weight, float eps,
                                bool weight_bias) {
  const std::vector<double> x = in.values();
  const std::vector<double> w = weight.values();
  std::vector<double> out(x.size());
  for (std::size_t at = 0; at < x.size(); at += w.size()) {
    reference::rmsnorm({eps, weight_bias}, std::span(x).subspan(at, w.size()), w,
                       std::span(out).subspan(at, w.size()));
  }
  return out;
}

void expect_near(const StridedTensor& got, const std::vector<double>& expected) {
  Comparison error("out", "half an ulp and fp32 roundings");
  const std::vector<double> values = got.values();
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double own = std::isfinite(expected[i]) ? expected[i] : 0;
    error.add(values[i], expected[i], half_ulp(got.type(), own) + 16 * 0x1p-24 * std::abs(own));
  }
  EXPECT_TRUE(error.result().passed()) << error.result().bound_ratio;
}

class QkRmsnormTest : public test::LlvmTest {
 protected:
  static void call(const QkRmsnormArgs& args) {
    const auto done = qk_rmsnorm(llvm().runtime(), args);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
  static void run_and_compare(Problem& problem) {
    const auto q = expected_of(problem.q, problem.q_weight, problem.q_eps, problem.weight_bias);
    const auto k = expected_of(problem.k, problem.k_weight, problem.k_eps, problem.weight_bias);
    call(problem.args());
    expect_near(problem.q_out, q);
    expect_near(problem.k_out, k);
    EXPECT_TRUE(problem.q_out.rest_is_untouched());
    EXPECT_TRUE(problem.k_out.rest_is_untouched());
  }
};

TEST_F(QkRmsnormTest, RowsLieAnywhere) {
  Problem problem;
  problem.q = StridedTensor(bf16, {kRows, kQ}, {kQ + 13, 1}, 3);
  problem.k = StridedTensor(bf16, {kRows, kK}, {2 * kK, 1}, 1);
  problem.q_out = StridedTensor(bf16, {kRows, kQ}, {kQ + 1, 1}, 5);
  problem.k_out = StridedTensor(bf16, {kRows, kK}, {kK + 7, 1}, 7);
  problem.fill();
  run_and_compare(problem);
}

TEST_F(QkRmsnormTest, HeadsLieAnywhereAndRanksMayDiffer) {
  Problem problem;
  // q with heads outside rows in memory, as a transposed view has them; k per row.
  problem.q = StridedTensor(bf16, {kRows, 3, kQ}, {kQ + 1, kRows * (kQ + 1) + 2, 1}, 1);
  problem.q_out = StridedTensor(bf16, {kRows, 3, kQ}, {3 * kQ + 9, kQ + 3, 1});
  problem.fill();
  run_and_compare(problem);
}

TEST_F(QkRmsnormTest, InPlaceGivesTheSameBitsAndWritesNothingElse) {
  Problem apart;
  apart.q = StridedTensor(bf16, {kRows, kQ}, {kQ + 13, 1}, 3);
  apart.q_out = StridedTensor(bf16, {kRows, kQ}, {kQ + 13, 1}, 3);
  apart.fill();
  call(apart.args());
  Problem in_place;
  in_place.q = StridedTensor(bf16, {kRows, kQ}, {kQ + 13, 1}, 3);
  in_place.fill();
  QkRmsnormArgs args = in_place.args();
  args.q_out = args.q;
  args.k_out = args.k;
  call(args);
  EXPECT_EQ(in_place.q.memory(), apart.q_out.memory());
  EXPECT_EQ(in_place.k.memory(), apart.k_out.memory());
  EXPECT_TRUE(in_place.q_out.rest_is_untouched());
}

TEST_F(QkRmsnormTest, AbsentStridesAreDenseOnes) {
  Problem problem;
  problem.fill();
  const auto expected = expected_of(problem.q, problem.q_weight, problem.q_eps, false);
  QkRmsnormArgs args = problem.args();
  for (DLTensor* tensor : {&args.q, &args.k, &args.q_weight, &args.q_out, &args.k_out}) {
    tensor->strides = nullptr;
  }
  call(args);
  expect_near(problem.q_out, expected);
}

TEST_F(QkRmsnormTest, EverySizeAroundAVector) {
  for (const std::int64_t size : {1, 3, 4, 7, 8, 15, 16, 17, 65}) {
    SCOPED_TRACE(size);
    Problem problem;
    problem.q = problem.q_out = StridedTensor(bf16, {2, size}, {size + 1, 1});
    problem.q_weight = StridedTensor(bf16, {size});
    problem.k = problem.k_out = StridedTensor(bf16, {2, 3, size});
    problem.k_weight = StridedTensor(bf16, {size});
    problem.fill();
    run_and_compare(problem);
  }
}

TEST_F(QkRmsnormTest, EachSideHasItsOwnEps) {
  Problem problem;
  problem.fill(1e-2F);
  problem.q_eps = 1e-3F;
  problem.k_eps = 4.0F;
  run_and_compare(problem);
}

TEST_F(QkRmsnormTest, TypesOfTensorsAndWeights) {
  for (const ElementType io : {bf16, f16}) {
    for (const ElementType weights : {bf16, f16, f32}) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(io), name_of(weights)));
      Problem problem;
      for (StridedTensor* tensor : {&problem.q, &problem.q_out}) *tensor = {io, {kRows, kQ}};
      for (StridedTensor* tensor : {&problem.k, &problem.k_out}) *tensor = {io, {kRows, kK}};
      problem.q_weight = StridedTensor(weights, {kQ});
      problem.k_weight = StridedTensor(weights, {kK});
      problem.weight_bias = weights == f32;
      problem.fill();
      run_and_compare(problem);
    }
  }
}

TEST_F(QkRmsnormTest, RowsOfZerosAndOfLargeAndSmallNumbers) {
  for (const float magnitude : {0.0F, 1e4F, 1e18F, 1e-5F, 1e-30F}) {
    SCOPED_TRACE(magnitude);
    Problem problem;
    problem.fill(magnitude);
    run_and_compare(problem);
  }
}

TEST_F(QkRmsnormTest, WithoutEps) {
  Problem problem;
  problem.fill();
  problem.q_eps = problem.k_eps = 0;
  run_and_compare(problem);
  problem.fill(0);  // 0 / 0
  call(problem.args());
  for (const double value : problem.q_out.values()) EXPECT_TRUE(std::isnan(value));
}

TEST_F(QkRmsnormTest, NanAndInfinitySpoilTheirOwnRowAlone) {
  for (const float spoiler :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Problem problem;
    problem.fill();
    int element = 0;
    problem.q.fill([&] { return element++ == 2 * kQ + 70 ? spoiler : 0.5F; });
    run_and_compare(problem);
  }
}

TEST_F(QkRmsnormTest, RowsHeadsAndEpsCompileNothing) {
  Problem problem;
  problem.fill();
  call(problem.args());
  const Counters before = llvm().runtime().counters();
  for (const std::int64_t rows : {0, 1, 2, 300}) {
    Problem other;
    other.q = other.q_out = StridedTensor(bf16, {rows, kQ}, {kQ + 3, 1});
    other.k = other.k_out = StridedTensor(bf16, {rows, 2, kK});
    other.k_eps = 0.25F;
    other.fill();
    run_and_compare(other);
  }
  EXPECT_EQ(llvm().runtime().counters().compiles, before.compiles);
}

TEST_F(QkRmsnormTest, EmptyTensorsMayHaveNoData) {
  Problem problem;
  problem.q = problem.q_out = StridedTensor(bf16, {0, kQ});
  problem.k = problem.k_out = StridedTensor(bf16, {0, kK});
  QkRmsnormArgs args = problem.args();
  for (DLTensor* tensor : {&args.q, &args.k, &args.q_out, &args.k_out}) {
    tensor->data = nullptr;
    tensor->byte_offset = 0;
  }
  call(args);
}

// Each e4m3 number is itself again, and what lies half-way goes to the even one.
TEST_F(QkRmsnormTest, QuantisesToTheNearestE4m3) {
  constexpr std::int64_t kSize = 16;
  Problem problem;
  problem.q = problem.k = problem.k_out = StridedTensor(bf16, {1, kSize});
  problem.q_weight = problem.k_weight = StridedTensor(f32, {kSize});
  problem.q.fill([] { return 1.0F; });
  problem.k.fill([] { return 1.0F; });
  problem.q_eps = 0;
  const float inputs[kSize] = {448, -448, 1,   1.0625F,  1.1875F,  0.015625F,   0.001953125F,
                               0,   432,  264, -0.0625F, 0.03125F, 0.00097656F, 0.0029296875F,
                               17,  0.5F};
  const double wanted[kSize] = {448, -448, 1,       1,       1.25, 0.015625,   0.001953125, 0,
                                448, 256,  -0.0625, 0.03125, 0,    0.00390625, 16,          0.5};
  int i = 0;
  problem.q_weight.fill([&] { return inputs[i++]; });
  std::uint8_t bytes[kSize + 1] = {};
  float scale = 0;
  std::int64_t shape[] = {1, kSize}, ones[] = {1};
  QkRmsnormArgs args = problem.args();
  args.q_out = DLTensor{bytes, {kDLCPU, 0}, 2, {kDLUInt, 8, 1}, shape, nullptr, 0};
  args.q_scale = DLTensor{&scale, {kDLCPU, 0}, 1, {kDLFloat, 32, 1}, ones, nullptr, 0};
  call(args);
  EXPECT_EQ(scale, 1);
  for (std::int64_t n = 0; n < kSize; ++n) {
    EXPECT_EQ(element_of(e4m3, reinterpret_cast<std::byte*>(bytes), n), wanted[n]) << inputs[n];
  }
  EXPECT_EQ(bytes[kSize], 0);
}

TEST_F(QkRmsnormTest, ReturnsOutputsOfSixArguments) {
  Problem problem;
  problem.q = StridedTensor(bf16, {kRows, kQ}, {kQ + 13, 1}, 3);
  problem.fill();
  const auto outputs = fused_qk_rmsnorm(llvm().runtime(), problem.q.dl(), problem.q_weight.dl(),
                                        1e-6F, problem.k.dl(), problem.k_weight.dl(), 1e-5F);
  ASSERT_TRUE(outputs) << outputs.error().message;
  problem.k_eps = 1e-5F;
  call(problem.args());
  for (const auto& [got, expected] :
       {std::pair{&outputs->q, &problem.q_out}, {&outputs->k, &problem.k_out}}) {
    const DLTensor& dl = (*got)->dl_tensor;
    ASSERT_EQ(dl.ndim, 2);
    EXPECT_EQ(dl.shape[1], expected->shape()[1]);
    EXPECT_EQ(dl.strides[0], expected->shape()[1]);
    const auto* bytes = static_cast<const std::byte*>(dl.data);
    const auto count = static_cast<std::size_t>(dl.shape[0] * dl.shape[1]) * 2;
    EXPECT_TRUE(std::equal(bytes, bytes + count, expected->memory().data()));
  }
  DLTensor bad = problem.q.dl();
  bad.dtype = {kDLInt, 32, 1};
  EXPECT_FALSE(fused_qk_rmsnorm(llvm().runtime(), bad, problem.q_weight.dl(), 1e-6F, problem.k.dl(),
                                problem.k_weight.dl(), 1e-5F));
}

TEST_F(QkRmsnormTest, SaysWhatOfARopeOrAScaleDoesNotFit) {
  struct Case {
    std::function<void(QkRmsnormArgs&)> spoil;
    std::string message;
  };
  StridedTensor positions(i32, {kRows}), cos(f32, {7, 4}), sin(f32, {7, 4}), scale(f32, {kRows, 1});
  std::int64_t wide[] = {7, 19}, none[] = {7, 0}, odd[] = {kRows, 5};
  const std::vector<Case> cases = {
      {[](auto& args) { args.rope->positions = {}; }, "tensor 'positions' has 0 dimensions, not 1"},
      {[](auto& args) {
         args.rope->positions.dtype = {kDLFloat, 32, 1};
       },
       "tensor 'positions' holds f32, not one of i32, i64"},
      {[](auto& args) { args.rope->cos.ndim = 1; }, "tensor 'cos' has 1 dimensions, not 2"},
      {[](auto& args) {
         args.rope->sin.dtype = {kDLBfloat, 16, 1};
       },
       "tensor 'sin' holds bf16, not f32"},
      {[&](auto& args) { args.rope->sin.shape = wide; }, "tensor 'sin' has shape [7, 19]"},
      {[&](auto& args) { args.rope->sin.shape = args.rope->cos.shape = wide; },
       "tensor 'cos' has 19 columns: it rotates 38 elements; 2 to 37 are there"},
      {[&](auto& args) { args.rope->sin.shape = args.rope->cos.shape = none; },
       "tensor 'cos' has 0 columns"},
      {[](auto& args) {
         args.rope->cos.device = {kDLCUDA, 0};
       },
       "tensor 'cos' is on CUDA device 0"},
      {[&](auto& args) { args.q_scale = scale.dl(); }, "tensor 'q_out' holds bf16, not e4m3"},
      {[&](auto& args) {
         args.q_scale = scale.dl();
         args.q_scale->shape = odd;
         args.q_out.dtype = {10, 8, 1};
       },
       "tensor 'q_scale' has 5 columns for q's 72 elements"},
      {[&](auto& args) {
         args.q_scale = scale.dl();
         args.q_scale->ndim = 3;
         args.q_out.dtype = {10, 8, 1};
       },
       "tensor 'q_scale' has 3 dimensions; with q's 2 it takes 2 or 1"},
  };
  for (const Case& one : cases) {
    Problem problem;
    QkRmsnormArgs args = problem.args();
    args.rope = QkRope{positions.dl(), cos.dl(), sin.dl()};
    one.spoil(args);
    const auto done = qk_rmsnorm(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

TEST_F(QkRmsnormTest, SaysWhichTensorDoesNotFit) {
  struct Case {
    std::function<void(QkRmsnormArgs&, Problem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& args, auto&) { args.k.data = nullptr; }, "tensor 'k' has no data"},
      {[](auto& args, auto&) { args.q_out.data = nullptr; }, "tensor 'q_out' has no data"},
      {[](auto& args, auto&) { args.q.ndim = 1; }, "tensor 'q' has 1 dimensions; it takes 2"},
      {[](auto& args, auto&) {
         args.q.dtype = {kDLFloat, 32, 1};
       },
       "tensor 'q' holds f32, not bf16"},
      {[](auto& args, auto&) {
         args.k.dtype = {kDLFloat, 16, 1};
       },
       "tensor 'k' holds f16, not bf16"},
      {[](auto& args, auto&) {
         args.k_weight.dtype = {kDLFloat, 16, 1};
       },
       "tensor 'k_weight' holds f16, not bf16"},
      {[](auto&, auto& problem) { problem.k.shape()[0] = 4; }, "tensor 'k' has shape [4, 37]"},
      {[](auto&, auto& problem) { problem.q_weight.shape()[0] = 71; },
       "tensor 'q_weight' has shape [71], not [N=72]"},
      {[](auto&, auto& problem) { problem.k_out.shape()[1] = 36; },
       "tensor 'k_out' has shape [5, 36]"},
      {[](auto&, auto& problem) { problem.q.strides()[1] = 2; }, "tensor 'q' has stride 2"},
      {[](auto&, auto& problem) { problem.q.shape()[1] = 0; }, "vectors of 0 elements; 1 to 8192"},
      {[](auto&, auto& problem) { problem.k.shape()[1] = 8193; }, "vectors of 8193 elements"},
      {[](auto& args, auto&) {
         args.k_out.device = {kDLCUDA, 1};
       },
       "tensor 'k_out' is on CUDA device 1, but 'q' is on the CPU"},
      {[](auto& args, auto& problem) {
         args.q_out.data = args.q.data;
         problem.q_out.strides()[0] = kQ - 1;
       },
       "tensor 'q_out' begins where 'q' does and has stride 71 in dimension 0, not 72"},
      {[](auto& args, auto&) { args.q.byte_offset = 1; }, "tensor 'q' is not aligned"},
  };
  for (const Case& one : cases) {
    Problem problem;
    QkRmsnormArgs args = problem.args();
    one.spoil(args, problem);
    const auto done = qk_rmsnorm(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

}  // namespace
}  // namespace kiln
