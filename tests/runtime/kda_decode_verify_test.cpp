// SPDX-License-Identifier: Apache-2.0
// kda_decode of several tokens per sequence, tensors that begin anywhere, and what many steps one
// after another add up to.
#include <gtest/gtest.h>

#include "tests/runtime/kda_places.h"

namespace kiln::test {
namespace {

using enum ElementType;
using Lengths = std::vector<std::int64_t>;
using Index = StridedTensor::Index;

// The implementations that serve all of it; what is left out in the names is whichever is the best.
const KdaPlace kPlaces[] = {{"cpu", ""}, {"simt", ""}, {"simt:warp64", ""}};

class KdaVerify : public testing::TestWithParam<KdaPlace> {
 protected:
  void SetUp() override {
    if (const auto why = GetParam().why_not()) GTEST_SKIP() << *why;
  }
  static Runtime& runtime() { return GetParam().runtime(); }
  static CallOptions options() { return GetParam().options(); }
  static void check(KdaProblem& p) { call_and_check(p, runtime(), options()); }
  static void call(KdaProblem& p) {
    const auto done = p.call(runtime(), options(), [](KdaDecodeArgs&) {});
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
};
INSTANTIATE_TEST_SUITE_P(Places, KdaVerify, testing::ValuesIn(kPlaces), name_of_kda_place);

KdaProblem with_policy(KdaShapeOf shape, Tokens tokens, const Lengths& lengths,
                       KdaStateWrite write) {
  const auto batch = static_cast<std::int64_t>(lengths.size());
  KdaProblem p(shape, tokens, lengths, batch * 4 + 2);
  p.numbers.state_write = write;
  p.columns = 4;
  p.slots.clear();
  for (std::int64_t i = 0; i < batch * 4; ++i) p.slots.push_back(batch * 4 + 1 - i);
  return p;
}

// Tokens per sequence, dense and packed, policies and accepted counts: each changed, none compiled,
// once both kernels of a GPU are there, that of one token and that of several.
TEST_P(KdaVerify, TokensPoliciesAndAcceptedCountsCompileNothing) {
  KdaProblem one({}, Tokens::one, {1, 1}, 2);
  check(one);
  KdaProblem first = with_policy({}, Tokens::dense, {3, 3}, KdaStateWrite::last);
  check(first);
  const Counters before = runtime().counters();
  for (const std::int64_t tokens : {1, 2, 4}) {
    KdaProblem p = with_policy({}, Tokens::dense, {tokens, tokens}, KdaStateWrite::last);
    check(p);
  }
  KdaProblem packed = with_policy({}, Tokens::varlen, {4, 0, 1}, KdaStateWrite::last);
  check(packed);
  for (const KdaStateWrite write : {KdaStateWrite::each, KdaStateWrite::none}) {
    KdaProblem p = with_policy({}, Tokens::dense, {3, 3}, write);
    check(p);
    EXPECT_NE(p.state.memory(), first.state.memory());
  }
  for (const std::vector<std::int32_t>& accepted :
       {std::vector<std::int32_t>{1, 3}, std::vector<std::int32_t>{4, 2}}) {
    KdaProblem p = with_policy({}, Tokens::dense, {3, 3}, KdaStateWrite::last);
    p.accepted = accepted;
    check(p);
    EXPECT_NE(p.out.memory(), first.out.memory());
  }
  EXPECT_EQ(runtime().counters().compiles, before.compiles);
}

void add_intermediate(KdaProblem& p, Lengths slots, std::int64_t pool, std::int64_t steps) {
  p.intermediate_slots = std::move(slots);
  p.intermediate.emplace(p.shape.state, KdaProblem::matrices_of(p.shape, {pool, steps}));
}

TEST_P(KdaVerify, EachPolicyWritesWhatItSays) {
  for (const KdaStateWrite write :
       {KdaStateWrite::last, KdaStateWrite::each, KdaStateWrite::none}) {
    SCOPED_TRACE(static_cast<int>(write));
    KdaProblem dense = with_policy({}, Tokens::dense, {3, 3}, write);
    check(dense);
    KdaProblem varlen = with_policy({}, Tokens::varlen, {4, 0, 1, 2}, write);
    check(varlen);
  }
}

TEST_P(KdaVerify, StartsWithTheStateOfTheLastAcceptedToken) {
  KdaProblem p = with_policy({}, Tokens::dense, {2, 2, 2, 2, 2}, KdaStateWrite::each);
  p.accepted = {1, 4, 2, 0, 9};  // the last two: cut to 1 and 4
  check(p);
}

TEST_P(KdaVerify, IntermediateStatesGoToTheirSlots) {
  for (const KdaLayout layout : {KdaLayout::VK, KdaLayout::KV}) {
    KdaProblem p =
        with_policy({.layout = layout}, Tokens::dense, {3, 3, 3, 3}, KdaStateWrite::none);
    add_intermediate(p, {2, -1, 0, 3}, 3, 2);  // one slot is none, one is outside; two steps kept
    check(p);
  }
}

TEST_P(KdaVerify, ASlotOutsideOfThePoolIsPassedOver) {
  KdaProblem p = with_policy({}, Tokens::dense, {3, 3}, KdaStateWrite::each);
  p.slots[1] = -1;
  p.slots[6] = p.pool;
  check(p);
  KdaProblem inactive = with_policy({}, Tokens::dense, {3, 3}, KdaStateWrite::each);
  inactive.slots[4] = -7;  // where the second sequence would begin
  add_intermediate(inactive, {0, 1}, 2, 3);
  check(inactive);
}

// One token of each sequence of a dense problem, as a problem of its own that shares nothing.
KdaProblem step_of(const KdaProblem& all, std::int64_t t) {
  KdaProblem one(all.shape, Tokens::one, Lengths(static_cast<std::size_t>(all.batch()), 1),
                 all.pool);
  one.slots.clear();
  for (std::int64_t n = 0; n < all.batch(); ++n) one.slots.push_back(all.first_slot(n));
  one.a_log = all.a_log;
  one.dt_bias = all.dt_bias;
  one.state = all.state;
  const auto pick = [&](const StridedTensor& from, StridedTensor& to) {
    const std::vector<double> values = from.values();
    const std::int64_t row =
        static_cast<std::int64_t>(values.size()) / (all.batch() * all.tokens_max);
    std::int64_t i = 0;
    to.fill([&] {
      const std::int64_t at = (i / row * all.tokens_max + t) * row + i % row;
      ++i;
      return static_cast<float>(values[static_cast<std::size_t>(at)]);
    });
  };
  pick(all.q, one.q);
  pick(all.k, one.k);
  pick(all.v, one.v);
  pick(all.a, one.a);
  pick(all.b, one.b);
  return one;
}

TEST_P(KdaVerify, SeveralTokensAreAsManySteps) {
  for (const ElementType state : {f32, bf16}) {
    for (const KdaLayout layout : {KdaLayout::VK, KdaLayout::KV}) {
      KdaProblem all({.state = state, .layout = layout}, Tokens::dense, {5, 5}, 3);
      KdaProblem steps = all;
      call(all);
      StridedTensor states = steps.state;
      std::vector<double> outs;
      for (std::int64_t t = 0; t < 5; ++t) {
        KdaProblem one = step_of(steps, t);
        one.state = states;
        call(one);
        states = one.state;
        const std::vector<double> out = one.out.values();
        outs.insert(outs.end(), out.begin(), out.end());
      }
      const std::vector<double> together = all.out.values();
      const std::vector<double> a = all.state.values(), b = states.values();
      double out_distance = 0, state_distance = 0;
      for (std::int64_t i = 0; i < static_cast<std::int64_t>(outs.size()); ++i) {
        const std::int64_t row = 2 * 64, t = i / (2 * row), n = i / row % 2;
        const double got = together[static_cast<std::size_t>((n * 5 + t) * row + i % row)];
        out_distance = std::max(out_distance, std::abs(got - outs[static_cast<std::size_t>(i)]));
      }
      for (std::size_t i = 0; i < a.size(); ++i) {
        state_distance = std::max(state_distance, std::abs(a[i] - b[i]));
      }
      // A bf16 state below 2 is rounded by up to 2^-9 at each of five steps, not once.
      EXPECT_LE(out_distance, state == f32 ? 0 : 5 * 0x1p-8) << static_cast<int>(layout);
      EXPECT_LE(state_distance, state == f32 ? 0 : 5 * 0x1p-8) << static_cast<int>(layout);
      if (state == f32) {
        EXPECT_EQ(all.state.memory(), states.memory());
      }
    }
  }
}

// Pointers that are aligned to their elements and to nothing more give the same bits.
TEST_P(KdaVerify, TensorsMayBeginAnywhere) {
  struct Case {
    ElementType type;
    std::vector<std::int64_t> offsets;
  };
  for (const Case& one : {Case{f32, {1, 2}}, Case{bf16, {1, 2, 4}}}) {  // 4, 8; 2, 4, 8 bytes
    const KdaShapeOf shape{.io = one.type, .gate_io = one.type, .state = one.type};
    KdaProblem plain(shape, Tokens::one, {1, 1}, 3);
    KdaProblem called = plain;
    call(called);
    for (const std::int64_t offset : one.offsets) {
      SCOPED_TRACE(offset);
      KdaProblem shifted = plain;
      for (StridedTensor* tensor :
           {&shifted.q, &shifted.k, &shifted.v, &shifted.a, &shifted.b, &shifted.a_log,
            &shifted.dt_bias, &shifted.state, &shifted.out}) {
        *tensor = StridedTensor(tensor->type(), tensor->shape(), {}, offset);
      }
      shifted.fill(1);
      call(shifted);
      EXPECT_EQ(shifted.out.values(), called.out.values());
      EXPECT_EQ(shifted.state.values(), called.state.values());
      EXPECT_TRUE(shifted.out.rest_is_untouched() && shifted.state.rest_is_untouched());
    }
  }
}

// 512 steps: an fp32 state stays within the bound of one step, a bf16 state within what 512
// roundings of a random walk may add up to where each step also forgets.
TEST_P(KdaVerify, ManyStepsDoNotDrift) {
  constexpr int kSteps = 512;
  for (const ElementType type : {f32, bf16}) {
    KdaProblem p({1, 1, 64, 64, bf16, bf16, type}, Tokens::one, {1}, 1);
    p.a_log.fill([] { return -2.0F; });
    std::vector<double> state = p.state.values();
    std::vector<double> out(64);
    Random random(5);
    for (int step = 0; step < kSteps; ++step) {
      for (StridedTensor* tensor : {&p.q, &p.k, &p.v, &p.a, &p.b}) {
        tensor->fill([&] { return random.uniform(-1, 1); });
      }
      const auto q = p.q.values(), k = p.k.values(), v = p.v.values(), a = p.a.values();
      const auto bias = p.dt_bias.values();
      reference::kda_decode_head(
          settings_of(p), {q, k, v, a, bias, p.b.values()[0], p.a_log.values()[0]}, state, out);
      call(p);
    }
    const std::vector<double> got = p.state.values();
    double largest = 0, distance = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      largest = std::max(largest, std::abs(state[i]));
      distance = std::max(distance, std::abs(state[i] - got[i]));
    }
    EXPECT_LE(distance / largest, type == f32 ? 2e-5 : 2e-2) << name_of(type);
    EXPECT_GT(largest, 0.1);
  }
}

// The best implementation for what is asked, and the caller can ask which it was.
TEST(KdaChoice, StatesTokensAndAlignmentDecide) {
  const KdaPlace place{"simt", ""};
  if (const auto why = place.why_not()) GTEST_SKIP() << *why;
  const auto served_by = [&](KdaProblem p) {
    Selection selection;
    CallOptions options = place.options();
    options.selected = &selection;
    EXPECT_TRUE(p.call(place.runtime(), options, [](KdaDecodeArgs&) {}));
    return selection.implementation->name;
  };
  EXPECT_EQ(served_by({{}, Tokens::one, {1, 1}, 2}), "kda_decode/small_batch");
  EXPECT_EQ(served_by({{}, Tokens::one, Lengths(2048, 1), 2048}), "kda_decode/large_batch");
  EXPECT_EQ(served_by({{}, Tokens::dense, {2, 2}, 2}), "kda_decode/several_tokens");
  KdaProblem odd({}, Tokens::one, {1, 1}, 2);
  odd.q = StridedTensor(bf16, {2, 1, 64}, {65, 64, 1});
  odd.fill(1);
  EXPECT_EQ(served_by(odd), "kda_decode/several_tokens");
}

}  // namespace
}  // namespace kiln::test
