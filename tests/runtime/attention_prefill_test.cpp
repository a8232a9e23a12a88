// SPDX-License-Identifier: Apache-2.0
// The public attention_prefill: lengths at the edges, where its tensors may lie, and what it says
// of tensors that it cannot take.
#include "kiln/attention_prefill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "runtime/reference/attention_prefill.h"
#include "runtime/reference/comparison.h"
#include "runtime/reference/sequence_lengths.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::StridedTensor;
using enum ElementType;
using Lengths = std::vector<std::int64_t>;

// cu_seqlens as a tensor.
struct Starts {
  explicit Starts(const Lengths& lengths)
      : starts(starts_of(lengths)), shape{static_cast<std::int64_t>(starts.size())} {}
  DLTensor dl() {
    DLTensor tensor{};
    tensor.data = starts.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = {kDLInt, 32, 1};
    tensor.shape = shape.data();
    return tensor;
  }
  std::vector<std::int32_t> starts;
  std::vector<std::int64_t> shape;
};

struct Problem {
  Lengths q_lengths, kv_lengths;
  std::int64_t q_heads = 4, kv_heads = 2, size = 64;
  bool causal = true;
  std::int64_t total_q = 0, total_kv = 0;
  Starts starts_q, starts_kv;
  StridedTensor q, k, v, out, lse;

  Problem(Lengths q_len, Lengths kv_len, bool is_causal = true)
      : q_lengths(std::move(q_len)),
        kv_lengths(std::move(kv_len)),
        causal(is_causal),
        total_q(starts_of(q_lengths).back()),
        total_kv(starts_of(kv_lengths).back()),
        starts_q(q_lengths),
        starts_kv(kv_lengths),
        q(bf16, {total_q, q_heads, size}),
        k(bf16, {total_kv, kv_heads, size}),
        v(bf16, {total_kv, kv_heads, size}),
        out(bf16, {total_q, q_heads, size}),
        lse(f32, {total_q, q_heads}) {
    fill();
  }
  void fill() {
    Random random(5);
    q.fill([&] { return random.uniform(-6, 6); });
    k.fill([&] { return random.uniform(-1, 1); });
    v.fill([&] { return random.uniform(-1, 1); });
  }
  AttentionPrefillArgs args() {
    AttentionPrefillArgs args{};
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.cu_seqlens_q = starts_q.dl();
    args.cu_seqlens_kv = starts_kv.dl();
    args.out = out.dl();
    args.lse = lse.dl();
    args.causal = causal;
    return args;
  }
};

// The rows of one head in a dense [tokens, heads, size].
std::vector<double> head_rows(const std::vector<double>& tensor, std::int64_t heads,
                              std::int64_t size, std::int64_t first, std::int64_t count,
                              std::int64_t head) {
  std::vector<double> rows;
  for (std::int64_t token = first; token < first + count; ++token) {
    const auto at = tensor.begin() + (token * heads + head) * size;
    rows.insert(rows.end(), at, at + size);
  }
  return rows;
}

struct Expected {
  std::vector<double> out, lse;  // dense
};

Expected reference_of(const Problem& problem, double scale) {
  const std::vector<double> q = problem.q.values(), k = problem.k.values(), v = problem.v.values();
  const std::int64_t size = problem.size, heads = problem.q_heads;
  Expected expected;
  std::vector<double> out(static_cast<std::size_t>(size)), terms(out);
  for (std::size_t n = 0; n < problem.q_lengths.size(); ++n) {
    for (std::int64_t i = 0; i < problem.q_lengths[n]; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t first = problem.starts_kv.starts[n];
        const std::int64_t keys = problem.kv_lengths[n];
        const std::int64_t kv_head = head / (heads / problem.kv_heads);
        const auto query = head_rows(q, heads, size, problem.starts_q.starts[n] + i, 1, head);
        reference::AttentionRule rule;
        rule.scale = scale;
        rule.causal = problem.causal;
        const auto row = reference::attention_row(
            rule, i, problem.q_lengths[n], query,
            head_rows(k, problem.kv_heads, size, first, keys, kv_head),
            head_rows(v, problem.kv_heads, size, first, keys, kv_head), out, terms);
        expected.out.insert(expected.out.end(), out.begin(), out.end());
        expected.lse.push_back(row.lse);
      }
    }
  }
  return expected;
}

class AttentionPrefillTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!llvm().available()) GTEST_SKIP() << llvm().why_not();
  }
  static test::LlvmRuntime& llvm() {
    static test::LlvmRuntime instance;
    return instance;
  }
  static void call(const AttentionPrefillArgs& args) {
    const auto done = attention_prefill(llvm().runtime(), args);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
  // Beyond an ulp of bf16: what fp32 sums of a few hundred terms lose, where scores are a few
  // units.
  struct Allowed {
    double out = 1e-5;
    double lse = 1e-4;
  };
  static void run_and_compare(Problem& problem, double scale = 0.125) {
    run_and_compare(problem, scale, Allowed{});
  }
  static void run_and_compare(Problem& problem, double scale, Allowed allowed) {
    AttentionPrefillArgs args = problem.args();
    args.scale = static_cast<float>(scale);
    call(args);
    const Expected expected = reference_of(problem, scale);
    const std::vector<double> out = problem.out.values(), lse = problem.lse.values();
    Comparison out_error("out", "1 bf16 ulp and more");
    Comparison lse_error("lse", "absolute");
    ASSERT_EQ(out.size(), expected.out.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out_error.add(out[i], expected.out[i], bf16_ulp(expected.out[i]) + allowed.out);
    }
    for (std::size_t i = 0; i < lse.size(); ++i)
      lse_error.add(lse[i], expected.lse[i], allowed.lse);
    EXPECT_TRUE(out_error.result().passed()) << out_error.result().abs_max;
    EXPECT_TRUE(lse_error.result().passed()) << lse_error.result().abs_max;
    EXPECT_TRUE(problem.out.rest_is_untouched());
    EXPECT_TRUE(problem.lse.rest_is_untouched());
  }
};

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
  run_and_compare(problem, 30.0, {.out = 0.03, .lse = 0.03});
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
