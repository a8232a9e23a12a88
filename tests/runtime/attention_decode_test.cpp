// SPDX-License-Identifier: Apache-2.0
// The public attention_decode: where its tensors may lie, which memory it must not read, lengths at
// the edges, splits.
#include "kiln/attention_decode.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <limits>

#include "tests/runtime/attention_problem.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::Cache;
using test::expect_right;
using test::kBf16;
using test::kGarbagePage;
using test::kNan;
using test::Layout;
using test::Order;
using test::Problem;
using test::Sequence;
using test::Sizes;
using test::Table;
using test::View;

class AttentionDecodeTest : public test::LlvmTest {
 protected:
  static void call(const AttentionDecodeArgs& args) {
    const auto done = attention_decode(llvm().runtime(), args);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
};

const std::vector<Sequence> kSequences = {{1, 41}, {2, 3}, {3, 16}};

TEST_F(AttentionDecodeTest, LengthsAroundAPageAndAStep) {
  // Pages of 8 tokens, steps of 64.
  Problem problem({{1, 0}, {2, 1}, {3, 7}, {4, 8}, {5, 9}, {6, 63}, {7, 64}, {8, 65}, {9, 72}},
                  {.pages_max = 9});
  call(problem.args());
  expect_right(problem);
}

TEST_F(AttentionDecodeTest, ASequenceWithoutTokensGivesZerosAndMinusInfinity) {
  for (const int splits : {1, 3}) {
    Problem problem({{1, 0}, {2, 5}, {3, 0}});
    problem.lengths[2] = -1;
    problem.use_splits(splits);
    call(problem.args());
    const auto width = static_cast<std::size_t>(problem.sizes.q_heads * problem.sizes.d_vo);
    for (std::size_t i = 0; i < width; ++i) {
      ASSERT_EQ(problem.out[i], 0);
      ASSERT_NE(problem.out[width + i], 0);
      ASSERT_EQ(problem.out[2 * width + i], 0);
    }
    EXPECT_EQ(problem.lse[0], -std::numeric_limits<float>::infinity());
    EXPECT_EQ(problem.lse.back(), -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isfinite(problem.lse[static_cast<std::size_t>(problem.sizes.q_heads)]));
  }
}

TEST_F(AttentionDecodeTest, AnEmptyCacheServesSequencesWithoutTokens) {
  Problem problem({{1, 0}}, {.pages_max = 0});
  AttentionDecodeArgs args = problem.args();
  args.block_table.data = nullptr;
  call(args);
  EXPECT_EQ(problem.out, std::vector<std::uint16_t>(problem.out.size(), 0));
}

TEST_F(AttentionDecodeTest, HeadsMajorMisalignedAndPermutedPagesGiveTheSameBits) {
  Problem dense(kSequences);
  call(dense.args());
  expect_right(dense);
  for (const Layout layout :
       {Layout{.order = Order::hnd}, Layout{.gap = 3}, Layout{.table = Table::reversed},
        Layout{Order::hnd, 5, Table::reversed}}) {
    Problem problem(kSequences, {}, layout);
    call(problem.args());
    EXPECT_EQ(problem.out, dense.out);
    EXPECT_EQ(problem.lse, dense.lse);
  }
}

TEST_F(AttentionDecodeTest, StridedQueriesOutputsAndTablesGiveTheSameBits) {
  Problem dense(kSequences);
  call(dense.args());
  Problem strided(kSequences);
  const Sizes& sizes = strided.sizes;
  const auto spread = [&](auto& memory, View& view, std::int64_t row, std::int64_t gap, auto rest) {
    auto wide = std::vector(memory.size() + static_cast<std::size_t>(strided.batch * gap), rest);
    for (std::int64_t n = 0; n < strided.batch; ++n) {
      std::copy_n(memory.begin() + n * row, row, wide.begin() + n * (row + gap));
    }
    memory = std::move(wide);
    view.strides.assign(view.shape.size(), 1);
    if (view.shape.size() == 3) view.strides[1] = view.shape[2];
    view.strides[0] = row + gap;
  };
  spread(strided.q, strided.q_view, sizes.q_heads * sizes.d_qk, 7, kNan);
  spread(strided.out, strided.out_view, sizes.q_heads * sizes.d_vo, 9, std::uint16_t{0x1234});
  spread(strided.table, strided.table_view, sizes.pages_max, 2, kGarbagePage);
  spread(strided.lse, strided.lse_view, sizes.q_heads, 3, 77.0F);
  call(strided.args());
  const std::int64_t row = sizes.q_heads * sizes.d_vo;
  for (std::int64_t n = 0; n < strided.batch; ++n) {
    const auto out = strided.out.begin() + n * (row + 9);
    EXPECT_TRUE(std::equal(out, out + row, dense.out.begin() + n * row));
    EXPECT_EQ(std::count(out + row, out + row + 9, 0x1234), 9);
    const auto lse = strided.lse.begin() + n * (sizes.q_heads + 3);
    EXPECT_TRUE(std::equal(lse, lse + sizes.q_heads, dense.lse.begin() + n * sizes.q_heads));
    EXPECT_EQ(std::count(lse + sizes.q_heads, lse + sizes.q_heads + 3, 77.0F), 3);
  }
}

TEST_F(AttentionDecodeTest, SequencesMaySharePages) {
  Problem apart({{5, 41}, {5, 41}});
  call(apart.args());
  Problem shared({{5, 41}, {6, 41}});
  std::copy_n(shared.table.begin(), shared.sizes.pages_max,
              shared.table.begin() + shared.sizes.pages_max);
  std::copy_n(shared.q.begin(), shared.q.size() / 2, shared.q.begin() + shared.q.size() / 2);
  call(shared.args());
  EXPECT_EQ(shared.out, apart.out);
  EXPECT_EQ(shared.lse, apart.lse);
}

TEST_F(AttentionDecodeTest, WhatLiesBehindASequenceDoesNotCount) {
  Problem poisoned(kSequences);  // NaN in free slots, garbage in the table
  call(poisoned.args());
  Problem zeroed(kSequences);
  for (Cache* cache : {&zeroed.k, &zeroed.v}) {
    std::replace(cache->memory().begin(), cache->memory().end(), kNan, std::uint16_t{0});
  }
  std::replace(zeroed.table.begin(), zeroed.table.end(), kGarbagePage, 0);
  call(zeroed.args());
  EXPECT_EQ(poisoned.out, zeroed.out);
  EXPECT_EQ(poisoned.lse, zeroed.lse);
  expect_right(poisoned);
}

TEST_F(AttentionDecodeTest, NanInATokenReachesTheHeadsThatReadIt) {
  Problem problem({{1, 9}});
  problem.v.row(problem.table[1], 0, 1)[5] = kNan;
  call(problem.args());
  const auto out = [&](std::int64_t head) {
    return float_of_bf16(problem.out[static_cast<std::size_t>(head * problem.sizes.d_vo + 5)]);
  };
  EXPECT_FALSE(std::isnan(out(1)));
  EXPECT_TRUE(std::isnan(out(2)));
}

TEST_F(AttentionDecodeTest, EverySplitCountIsRight) {
  const std::vector<Sequence> sequences = {{1, 1000}, {2, 0}, {3, 65}, {4, 1}};
  for (const int splits : {1, 2, 17, 133}) {
    SCOPED_TRACE(splits);
    Problem problem(sequences, {.pages_max = 125});
    problem.use_splits(splits);
    call(problem.args());
    expect_right(problem);
  }
}

TEST_F(AttentionDecodeTest, WithFixedSplitsTheRestOfTheBatchChangesNothing) {
  Problem alone({{7, 300}}, {.pages_max = 40});
  alone.use_splits(4);
  call(alone.args());
  Problem among({{1, 20}, {7, 300}, {2, 299}}, {.pages_max = 40});
  among.use_splits(4);
  call(among.args());
  const auto width = static_cast<std::int64_t>(alone.out.size());
  EXPECT_TRUE(std::equal(alone.out.begin(), alone.out.end(), among.out.begin() + width));
  EXPECT_TRUE(std::equal(alone.lse.begin(), alone.lse.end(),
                         among.lse.begin() + static_cast<std::int64_t>(alone.lse.size())));
}

TEST_F(AttentionDecodeTest, WithSplitsLeftOpenTheWorkspaceDecides) {
  Problem problem({{1, 900}}, {.pages_max = 128});
  const auto wanted = attention_decode_workspace_floats(problem.args());
  ASSERT_TRUE(wanted) << wanted.error().message;
  // 1,024 tokens make 8 splits of 128.
  EXPECT_EQ(*wanted, 8 * problem.sizes.q_heads * (problem.sizes.d_vo + 1));
  std::vector<std::uint16_t> one_piece;
  for (const std::int64_t floats : {std::int64_t{0}, *wanted / 2, *wanted}) {
    SCOPED_TRACE(floats);
    problem.workspace.assign(static_cast<std::size_t>(floats), std::nanf(""));
    problem.workspace_view.shape = {floats};
    call(problem.args());
    expect_right(problem);
    if (floats == 0) one_piece = problem.out;
  }
  // The partial results did go through it.
  EXPECT_TRUE(std::none_of(problem.workspace.begin(), problem.workspace.end(),
                           [](float x) { return std::isnan(x); }));
}

TEST_F(AttentionDecodeTest, ALatentCacheIsKeysAndTheFrontOfThemAsValues) {
  const Sizes mla{.q_heads = 16, .kv_heads = 1, .d_qk = 576, .d_vo = 512, .latent = true};
  Problem latent(kSequences, mla);
  call(latent.args());
  expect_right(latent);

  Problem headless(kSequences, mla);  // [pages, page_size, 576]
  View& view = headless.k.view();
  view.shape.erase(view.shape.begin() + 2);
  view.strides.erase(view.strides.begin() + 2);
  call(headless.args());
  EXPECT_EQ(headless.out, latent.out);

  Problem two_views(kSequences, mla);  // the same memory as two caches
  AttentionDecodeArgs args = two_views.args();
  View values{two_views.k.view()};
  values.shape[3] = 512;
  args.v_cache = values.dl(two_views.k.memory().data(), kBf16);
  call(args);
  EXPECT_EQ(two_views.out, latent.out);
  EXPECT_EQ(two_views.lse, latent.lse);
}

TEST_F(AttentionDecodeTest, PagesBeyondFourGibibytesAreReached) {
  Problem dense({{1, 12}});
  call(dense.args());
  // The second page lies 2^31 elements behind the first, in memory that is there only where used.
  Problem sparse({{1, 12}});
  constexpr std::int64_t kPageStride = (std::int64_t{1} << 31) + 64;
  constexpr std::size_t kBytes = (kPageStride + 65536) * 2;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "this machine gives no sparse memory";
  auto* elements = static_cast<std::uint16_t*>(memory);
  const std::int64_t page = sparse.k.view().strides[0];
  for (std::int64_t number = 0; number < 2; ++number) {
    std::copy_n(sparse.k.memory().data() + number * page, page, elements + number * kPageStride);
  }
  AttentionDecodeArgs args = sparse.args();
  args.k_cache.data = memory;
  sparse.k.view().strides[0] = kPageStride;
  call(args);
  EXPECT_EQ(sparse.out, dense.out);
  munmap(memory, kBytes);
}

TEST_F(AttentionDecodeTest, WhatVariesFromCallToCallCompilesNothing) {
  Problem problem(kSequences);
  call(problem.args());
  const Counters before = llvm().runtime().counters();
  for (const Sizes sizes : {Sizes{.page_size = 1, .pages_max = 50}, Sizes{.page_size = 64}}) {
    Problem other({{1, 41}, {4, 17}}, sizes, {.order = Order::hnd});
    other.use_splits(2);
    call(other.args());
    expect_right(other);
  }
  Problem scaled(kSequences);
  scaled.scale = 0.7F;
  call(scaled.args());
  expect_right(scaled);
  EXPECT_NE(scaled.out, problem.out);
  Problem by_default(kSequences);
  AttentionDecodeArgs args = by_default.args();
  args.scale.reset();
  call(args);
  by_default.scale = 0.125F;  // 64^-0.5
  expect_right(by_default);
  EXPECT_EQ(llvm().runtime().counters().compiles, before.compiles);
}

TEST_F(AttentionDecodeTest, AFixedSplitSizeGivesTheSameBitsInAnyBatch) {
  const auto run = [](const std::vector<Sequence>& sequences, std::int64_t pages_max) {
    Problem problem(sequences, {.pages_max = pages_max});
    problem.split_tokens = 100;  // rounded up to 128
    const auto floats = attention_decode_workspace_floats(problem.args());
    EXPECT_TRUE(floats);
    problem.workspace.assign(static_cast<std::size_t>(*floats), std::nanf(""));
    problem.workspace_view.shape = {*floats};
    call(problem.args());
    expect_right(problem);
    return problem;
  };
  const Problem alone = run({{7, 300}}, 40);
  const Problem among = run({{1, 20}, {7, 300}, {2, 2000}}, 250);  // other splits, other strides
  const auto width = static_cast<std::int64_t>(alone.out.size());
  EXPECT_TRUE(std::equal(alone.out.begin(), alone.out.end(), among.out.begin() + width));
  EXPECT_TRUE(std::equal(alone.lse.begin(), alone.lse.end(),
                         among.lse.begin() + static_cast<std::int64_t>(alone.lse.size())));
}

TEST_F(AttentionDecodeTest, AWindowOfAnySizeIsRightAndReadsNothingBeforeIt) {
  const std::vector<Sequence> sequences = {{1, 0}, {2, 1}, {3, 64}, {4, 200}};
  for (const std::int64_t window : {0, 1, 63, 64, 130, 199, 200, 1 << 30}) {
    for (const int splits : {1, 3}) {
      SCOPED_TRACE(testing::Message() << window << " with " << splits);
      Problem problem(sequences, {.pages_max = 25});
      problem.window_left = window;
      problem.use_splits(splits);
      call(problem.args());
      expect_right(problem);
    }
  }
  Problem poisoned({{4, 200}}, {.pages_max = 25});
  poisoned.window_left = 7;  // from token 192 on
  for (std::int64_t j = 0; j < 192; ++j) {
    for (const std::int64_t head : {0, 1}) {
      *poisoned.v.row(poisoned.table[static_cast<std::size_t>(j / 8)], j % 8, head) = kNan;
    }
  }
  call(poisoned.args());
  EXPECT_TRUE(std::none_of(poisoned.out.begin(), poisoned.out.end(),
                           [](auto x) { return std::isnan(float_of_bf16(x)); }));
}

TEST_F(AttentionDecodeTest, SinksJoinTheSumOnce) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int splits : {1, 2, 5}) {
    Problem problem({{1, 0}, {2, 1}, {3, 300}}, {.pages_max = 40});
    problem.sinks = {0.5F, -infinity, 100.0F, -3.0F};
    problem.use_splits(splits);
    call(problem.args());
    expect_right(problem);
    EXPECT_EQ(problem.lse[0], 0.5F);  // of no tokens: the sink alone
    EXPECT_EQ(problem.lse[1], -infinity);
  }
}

TEST_F(AttentionDecodeTest, SeveralQueryTokensSeeWhatIsBeforeThem) {
  for (const int splits : {1, 3}) {
    Problem problem({{1, 2}, {2, 5}, {3, 0}, {4, 200}}, {.pages_max = 25, .q_tokens = 5});
    problem.use_splits(splits);
    problem.window_left = 100;
    problem.slopes = {0.0F, 0.5F, 0.03F, -1.0F};
    call(problem.args());
    expect_right(problem);
  }
}

TEST_F(AttentionDecodeTest, TheLogarithmIsOptional) {
  for (const int splits : {1, 2}) {
    Problem with(kSequences);
    with.use_splits(splits);
    call(with.args());
    Problem without(kSequences);
    without.use_splits(splits);
    AttentionDecodeArgs args = without.args();
    args.lse.reset();
    call(args);
    EXPECT_EQ(without.out, with.out);
    EXPECT_TRUE(std::isnan(without.lse[0]));
  }
}

}  // namespace
}  // namespace kiln
