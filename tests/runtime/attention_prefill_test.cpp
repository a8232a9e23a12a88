// SPDX-License-Identifier: Apache-2.0
// The public attention_prefill: lengths at the edges, where its tensors may lie, and what it says
// of tensors that it cannot take.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/runtime/prefill_problem.h"

namespace kiln {
namespace {

using test::StridedTensor;
using test::prefill::Lengths;
using test::prefill::Problem;
using enum ElementType;

using AttentionPrefillTest = test::prefill::AttentionPrefillTest;

TEST_F(AttentionPrefillTest, LengthsAtTheEdges) {
  const Lengths queries = {0, 1, 1, 5, 64, 7, 129, 3, 0};
  const Lengths keys = {3, 1, 0, 70, 64, 2, 129, 128, 0};  // append; equal; more queries than keys
  for (const bool causal : {true, false}) {
    SCOPED_TRACE(causal);
    Problem problem(queries, keys, causal);
    run_and_compare(problem);
  }
}

TEST_F(AttentionPrefillTest, PairsOfLengthsThatPeersTest) {
  for (const auto& [queries, keys] :
       {std::pair{239, 1}, std::pair{799, 3}, std::pair{113, 203}, std::pair{1023, 1024},
        std::pair{127, 128}, std::pair{1, 239}}) {
    SCOPED_TRACE(fmt::format("{} queries, {} keys", queries, keys));
    Problem problem({queries}, {keys});
    run_and_compare(problem);
  }
}

TEST_F(AttentionPrefillTest, ARowThatSeesNoKeyIsZeroAndItsLseMinusInfinity) {
  Problem problem({4}, {2});
  call(problem.args());
  const std::vector<double> out = problem.out.values(), lse = problem.lse.values();
  const std::int64_t blind = 2 * problem.q_heads;  // rows of the first two queries
  for (std::int64_t i = 0; i < blind * problem.size; ++i) {
    EXPECT_EQ(out[static_cast<std::size_t>(i)], 0);
  }
  for (std::size_t i = 0; i < lse.size(); ++i) {
    EXPECT_EQ(std::isinf(lse[i]), i < static_cast<std::size_t>(blind)) << i;
  }
}

TEST_F(AttentionPrefillTest, RowsLieAnywhere) {
  Problem problem({3, 40}, {9, 40});
  const std::int64_t q_row = problem.q_heads * 67 + 5, kv_row = problem.kv_heads * 66 + 3;
  problem.q = StridedTensor(bf16, {43, 4, 64}, {q_row, 67, 1}, 1);
  problem.k = StridedTensor(bf16, {49, 2, 64}, {kv_row, 66, 1}, 3);
  problem.v = StridedTensor(bf16, {49, 2, 64}, {64, 49 * 64, 1}, 5);  // heads outermost
  problem.out = StridedTensor(bf16, {43, 4, 64}, {q_row, 67, 1}, 7);
  problem.lse = StridedTensor(f32, {43, 4}, {1, 47});  // heads outermost
  problem.fill();
  run_and_compare(problem);
}

// Sums of |scale q k| reach 3,000: (64 + 8) 2^-24 of that is what a score may be off by.
TEST_F(AttentionPrefillTest, LargeScoresDoNotOverflow) {
  Problem problem({20}, {70}, false);
  run_and_compare(problem, 30.0, {}, {.out = 0.03, .lse = 0.03});
}

TEST_F(AttentionPrefillTest, StartsBeyondTheTensorsAreCutOff) {
  Problem problem({5, 6}, {5, 6});
  AttentionPrefillArgs args = problem.args();
  problem.starts_q.starts = {-7, 5, 1 << 30};
  problem.starts_kv.starts = {-9, 5, 1 << 30};
  call(args);
  Problem right({5, 6}, {5, 6});
  call(right.args());
  EXPECT_EQ(problem.out.memory(), right.out.memory());
}

TEST_F(AttentionPrefillTest, LengthsScaleAndLseCompileNothing) {
  Problem first({5}, {5});
  call(first.args());
  const Counters before = llvm().runtime().counters();
  Problem other({3, 0, 200}, {8, 1, 150});
  run_and_compare(other, 0.5);
  AttentionPrefillArgs args = other.args();
  args.lse.reset();
  call(args);
  EXPECT_EQ(llvm().runtime().counters().compiles, before.compiles);
}

TEST_F(AttentionPrefillTest, SaysWhichTensorDoesNotFit) {
  struct Case {
    std::function<void(AttentionPrefillArgs&, Problem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& args, auto&) { args.k.data = nullptr; }, "tensor 'k' has no data"},
      {[](auto& args, auto&) { args.q.ndim = 2; }, "tensor 'q' has 2 dimensions, not 3"},
      {[](auto& args, auto&) {
         args.v.dtype = {kDLFloat, 32, 1};
       },
       "tensor 'v' holds f32, not bf16"},
      {[](auto&, auto& problem) { problem.k.shape()[0] = 4; }, "tensor 'k' has shape [4, 2, 64]"},
      {[](auto&, auto& problem) { problem.starts_kv.shape[0] = 3; },
       "tensor 'cu_seqlens_kv' has shape [3], not [B+1=2]"},
      {[](auto&, auto& problem) { problem.starts_q.shape[0] = 0; },
       "tensor 'cu_seqlens_q' is empty"},
      {[](auto& args, auto&) {
         args.lse->device = {kDLCUDA, 0};
       },
       "tensor 'lse' is on CUDA device 0"},
      {[](auto&, auto& problem) { problem.out.strides()[2] = 2; }, "tensor 'out' has stride 2"},
      {[](auto&, auto& problem) { problem.v.shape()[1] = 3; },
       "tensor 'q' has 4 heads and tensor 'v' 3"},
      {[](auto&, auto& problem) { problem.q.shape()[1] = 0; }, "tensor 'q' has 0 heads"},
  };
  for (const Case& one : cases) {
    Problem problem({5}, {6});
    AttentionPrefillArgs args = problem.args();
    one.spoil(args, problem);
    const auto done = attention_prefill(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

}  // namespace
}  // namespace kiln
