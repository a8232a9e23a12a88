// SPDX-License-Identifier: Apache-2.0
// The public attention_decode by its GPU kernels, on the SIMT machine: where tensors may lie,
// splits, and that nothing on the host reads what a device would hold.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "kiln/attention_decode.h"
#include "templates/kernels/attention_decode/params.h"
#include "tests/runtime/attention_problem.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::expect_right;
using test::Layout;
using test::Order;
using test::Problem;
using test::Sequence;
using test::Table;

constexpr double kBf16Weights = 0x1p-8;

class AttentionDecodeSimtTest : public test::LlvmTest {
 protected:
  static void call(const AttentionDecodeArgs& args, const std::string& expected) {
    CallOptions options;
    Selection selection;
    options.arch = *Arch::parse("simt");
    options.selected = &selection;
    const auto done = attention_decode(llvm().runtime(), args, options);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
    EXPECT_EQ(selection.implementation->name, "attention_decode/" + expected);
  }
};

TEST_F(AttentionDecodeSimtTest, StridesAndOrderOfPagesChangeNoBit) {
  const std::vector<Sequence> sequences = {{1, 41}, {2, 0}, {3, 16}};
  Problem dense(sequences);
  call(dense.args(), "matrix");
  expect_right(dense, kBf16Weights);
  for (const Layout layout :
       {Layout{.order = Order::hnd}, Layout{.gap = 8}, Layout{Order::hnd, 8, Table::reversed}}) {
    Problem other(sequences, {}, layout);
    call(other.args(), "matrix");
    EXPECT_EQ(other.out, dense.out);
    EXPECT_EQ(other.lse, dense.lse);
  }
}

// Rows that no wide access can reach.
TEST_F(AttentionDecodeSimtTest, UnalignedCachesAreServedByPlainArithmetic) {
  const std::vector<Sequence> sequences = {{1, 41}, {2, 65}};
  for (const Layout layout : {Layout{.gap = 3}, Layout{Order::hnd, 5, Table::reversed}}) {
    Problem problem(sequences, {.pages_max = 9}, layout);
    problem.window_left = 30;
    call(problem.args(), "split_kv");
    expect_right(problem);
  }
}

TEST_F(AttentionDecodeSimtTest, SplitsAreMergedWithinRounding) {
  for (const int splits : {1, 2, 17, 133}) {
    SCOPED_TRACE(splits);
    Problem problem({{1, 400}, {2, 0}, {3, 65}}, {.pages_max = 50});
    problem.sinks = {0.5F, -std::numeric_limits<float>::infinity(), 3, -3};
    problem.use_splits(splits);
    call(problem.args(), "matrix");
    expect_right(problem, kBf16Weights);
  }
}

TEST_F(AttentionDecodeSimtTest, AFixedSplitSizeGivesTheSameBitsInAnyBatch) {
  const auto run = [](const std::vector<Sequence>& sequences, std::int64_t pages_max) {
    Problem problem(sequences, {.pages_max = pages_max});
    problem.split_tokens = 128;
    const auto floats = attention_decode_workspace_floats(problem.args());
    EXPECT_TRUE(floats);
    problem.workspace.assign(static_cast<std::size_t>(*floats), std::nanf(""));
    problem.workspace_view.shape = {*floats};
    call(problem.args(), "matrix");
    expect_right(problem, kBf16Weights);
    return problem;
  };
  const Problem alone = run({{7, 300}}, 40);
  const Problem among = run({{1, 20}, {7, 300}, {2, 700}}, 90);
  const auto width = static_cast<std::ptrdiff_t>(alone.out.size());
  EXPECT_TRUE(std::equal(alone.out.begin(), alone.out.end(), among.out.begin() + width));
  EXPECT_TRUE(std::equal(alone.lse.begin(), alone.lse.end(),
                         among.lse.begin() + static_cast<std::ptrdiff_t>(alone.lse.size())));
}

// Everything that a call does on the host before its launches, with tensors that nobody may read:
// a host that looked at one of them would end here. So a call can be captured into a graph.
TEST(AttentionDecodeHost, ReadsNoTensor) {
  constexpr std::size_t kBytes = std::size_t{1} << 24;
  void* const memory = mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Problem problem({{1, 41}, {2, 3}, {3, 16}}, {.pages_max = 64});
  AttentionDecodeArgs args = problem.args();
  args.lse.reset();
  for (DLTensor* tensor :
       {&args.q, &args.k_cache, &*args.v_cache, &args.block_table, &args.seq_lens, &args.out}) {
    tensor->data = memory;
  }
  const auto floats = attention_decode_workspace_floats(args);
  ASSERT_TRUE(floats) << floats.error().message;
  EXPECT_GT(*floats, 0);

  const Op& op = **find_op("attention_decode");
  AttentionDecodeParams params{};
  params.q = params.out = {memory, 256, 0, 64};
  params.k = params.v = {memory, 1024, 128, 64, static_cast<const float*>(memory), 0, 0};
  params.pages = params.indptr = params.lengths = static_cast<const int*>(memory);
  params.sinks = params.alibi_slopes = static_cast<const float*>(memory);
  params.lse = params.workspace = static_cast<float*>(memory);
  params.batch = 3;
  params.q_tokens = 2;
  params.page_size = 8;
  params.pages_max = 64;
  params.splits = 4;
  params.window_left = 100;
  for (const char* v_in_k : {"false", "true"}) {
    const Shape shape =
        parse_arguments(op, std::vector<NameValue>{{"Hq", "8"}, {"Hkv", "2"}, {"v_in_k", v_in_k}})
            ->shape;
    for (const Implementation& one : op.implementations) {
      EXPECT_TRUE(one.can_serve(shape, &params)) << one.name;
      EXPECT_TRUE(!one.is_best || one.is_best(shape, &params)) << one.name;
      const LaunchPlan plan = one.plan(shape, &params);
      EXPECT_EQ(plan.size(), 2U) << one.name;
    }
  }
  munmap(memory, kBytes);
}

}  // namespace
}  // namespace kiln
