// SPDX-License-Identifier: Apache-2.0
// kda_decode against fp64, on the native CPU and, by each of its GPU implementations, on the SIMT
// machine with warps of 32 and of 64: everything that a shape can say, and the edges of a call.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "tests/runtime/kda_places.h"

namespace kiln::test {
namespace {

using Lengths = std::vector<std::int64_t>;
using enum ElementType;

const std::vector<std::pair<std::string, KdaShapeOf>> kShapes = {
    {"plain", {2, 4, 128, 128}},
    {"lower_bound", {.gate = KdaGate::lower_bound}},
    {"precomputed", {.gate_io = f32, .gate = KdaGate::precomputed}},
    {"gdn", {.gate = KdaGate::scalar}},
    {"gdn_kv_bf16", {.state = bf16, .gate = KdaGate::scalar, .layout = KdaLayout::KV}},
    {"beta_doubled", {.beta = KdaBeta::doubled}},
    {"beta_given_f32", {.gate_io = f32, .beta = KdaBeta::given}},
    {"no_norm", {.qk_l2norm = false}},
    {"bf16_state", {1, 1, 128, 128, bf16, bf16, bf16}},
    {"group_of_16", {1, 16, 64, 64}},
    {"k64_v256_f16", {1, 1, 64, 256, f16, f16}},
    {"k256_v64_f32", {1, 1, 256, 64, f32, f32}},
    {"k256_v128_bf16_state", {1, 1, 256, 128, bf16, bf16, bf16}},
    {"k64_v64_bf16_state", {1, 1, 64, 64, bf16, bf16, bf16}},
    {"k64_v128_group_of_3", {1, 3, 64, 128}},
    {"k128_v64", {1, 1, 128, 64}},
    {"k128_v256", {1, 1, 128, 256}},
    {"k256_v256_bf16_state", {1, 1, 256, 256, bf16, bf16, bf16}},
    {"kv_k64_v128", {.v = 128, .layout = KdaLayout::KV}},
    {"kv_k128_v64", {.value_heads = 1, .k = 128, .layout = KdaLayout::KV}},
    {"kv_k256_v64", {.value_heads = 1, .k = 256, .layout = KdaLayout::KV}},
    {"kv_k128_v256_bf16_state",
     {.value_heads = 1, .k = 128, .v = 256, .state = bf16, .layout = KdaLayout::KV}},
    {"kv_k256_v64_bf16_state",
     {.value_heads = 1, .k = 256, .state = bf16, .layout = KdaLayout::KV}},
};

class KdaShapes : public testing::TestWithParam<int> {};

// Each shape on the CPU, and on two of the six GPU ones in turn.
TEST_P(KdaShapes, IsRight) {
  const auto& [name, shape] = kShapes[static_cast<std::size_t>(GetParam())];
  for (const KdaPlace& place : kda_places_in_turn(GetParam())) {
    SCOPED_TRACE(name + " on " + place.name());
    if (const auto why = place.why_not()) GTEST_SKIP() << *why;
    KdaProblem p(shape, Tokens::one, {1, 1, 1}, 4);
    call_and_check(p, place.runtime(), place.options());
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, KdaShapes, testing::Range(0, static_cast<int>(kShapes.size())),
                         [](const auto& of) {
                           return kShapes[static_cast<std::size_t>(of.param)].first;
                         });

class KdaEdges : public testing::TestWithParam<KdaPlace> {
 protected:
  void SetUp() override {
    if (const auto why = GetParam().why_not()) GTEST_SKIP() << *why;
  }
  using Index = StridedTensor::Index;
  static Runtime& runtime() { return GetParam().runtime(); }
  static CallOptions options() { return GetParam().options(); }
  void check(KdaProblem& p) { call_and_check(p, GetParam().runtime(), GetParam().options()); }
  static KdaProblem problem(std::int64_t batch = 3, std::int64_t pool = 5) {
    return {{}, Tokens::one, Lengths(static_cast<std::size_t>(batch), 1), pool};
  }
};
INSTANTIATE_TEST_SUITE_P(Places, KdaEdges, testing::ValuesIn(kda_places()), name_of_kda_place);

TEST_P(KdaEdges, Batches) {
  for (const std::int64_t batch : {0, 1, 2, 7}) {
    SCOPED_TRACE(batch);
    KdaProblem p = problem(batch, batch + 2);
    check(p);
  }
}

TEST_P(KdaEdges, InactiveSlotsGiveZerosAndTouchNothing) {
  for (const bool wide : {false, true}) {
    KdaProblem p = problem(6, 4);
    p.wide_slots = wide;
    p.slots = {-1,
               2,
               4,
               std::numeric_limits<std::int32_t>::max(),
               wide ? std::int64_t{1} << 32 : std::numeric_limits<std::int32_t>::min(),
               0};
    check(p);
  }
}

// A padded row's inputs and an unused slot's state may be anything.
TEST_P(KdaEdges, NanInWhatIsInactiveStaysThere) {
  KdaProblem p = problem(3, 5);
  p.slots = {3, -1, 0};
  const float nan = std::nanf("");
  for (StridedTensor* tensor : {&p.q, &p.k, &p.v, &p.a, &p.b}) tensor->fill_row(1, nan);
  for (const std::int64_t slot : {1, 2, 4}) p.state.fill_row(slot, nan);
  check(p);
}

TEST_P(KdaEdges, ExtremeGates) {
  const auto alternating = [](float one, float other) {
    return [=, i = 0]() mutable { return i++ % 3 == 0 ? one : other; };
  };
  KdaProblem gates = problem();
  gates.a.fill(alternating(60, -60));
  check(gates);
  KdaProblem rates = problem();
  rates.a_log.fill(alternating(95, -95));  // forgets everything; forgets nothing
  check(rates);
  KdaProblem biases = problem();
  biases.dt_bias.fill(alternating(300, -300));
  check(biases);
  KdaProblem betas = problem();
  betas.b.fill(alternating(200, -200));
  check(betas);
}

TEST_P(KdaEdges, NearZeroQueriesAndKeys) {
  for (const float size : {0.0F, 1e-20F, 1e-39F, 1e-4F}) {
    SCOPED_TRACE(size);
    KdaProblem p = problem();
    p.q.fill([=, i = 0]() mutable { return i++ % 2 == 0 ? size : -size; });
    p.k.fill([=, i = 0]() mutable { return i++ % 5 == 0 ? size : 0; });
    check(p);
  }
}

// Where nothing larger stands beside them, what becomes of denormals is what comes out.
TEST_P(KdaEdges, DenormalValuesAndStatesAreKept) {
  const auto denormals = [i = 0]() mutable { return static_cast<float>(i++ % 7 - 3) * 3e-39F; };
  for (const ElementType state : {f32, bf16}) {
    SCOPED_TRACE(name_of(state));
    KdaProblem p({.state = state}, Tokens::one, {1, 1, 1}, 5);
    p.v.fill(denormals);
    p.state.fill(denormals);
    check(p);
  }
}

// Thresholds of the other gate.
TEST_P(KdaEdges, TheLowerBoundIsARunTimeArgument) {
  std::optional<std::uint64_t> compiles;
  for (const float bound : {-0.5F, -5.0F}) {
    KdaProblem p({.gate = KdaGate::lower_bound}, Tokens::one, {1, 1}, 2);
    p.numbers.lower_bound = bound;
    check(p);
    if (compiles) {
      EXPECT_EQ(runtime().counters().compiles, *compiles);
    }
    compiles = runtime().counters().compiles;
  }
}

TEST_P(KdaEdges, WeightsMayBeAbsent) {
  KdaProblem p = problem();
  p.dt_bias.fill([] { return 0.0F; });
  const KdaExpected expected = expected_of(p);
  const KdaProblem before = p;
  const auto done = p.call(GetParam().runtime(), GetParam().options(),
                           [](KdaDecodeArgs& args) { args.dt_bias = {}; });
  ASSERT_TRUE(done) << done.error().message;
  expect_right(p, before, expected);
}

// Views of one packed buffer, as a projection of q, k and v at once leaves it.
TEST_P(KdaEdges, ViewsOfOnePackedBufferGiveTheSameBits) {
  KdaProblem dense = problem();
  KdaProblem packed = dense;
  constexpr std::int64_t kWidth = 64 + 64 + 2 * 64;  // q, k: one head; v: two
  std::vector<std::uint16_t> qkv(3 * kWidth);
  const auto view = [&](const StridedTensor& from, std::int64_t at, std::int64_t width,
                        DLTensor* to, Index* strides) {
    for (std::int64_t row = 0; row < 3; ++row) {
      std::memcpy(&qkv[static_cast<std::size_t>(row * kWidth + at)],
                  from.memory().data() + row * width * 2, static_cast<std::size_t>(width) * 2);
    }
    *strides = {kWidth, 64, 1};
    to->strides = strides->data();
    to->data = qkv.data();
    to->byte_offset = static_cast<std::uint64_t>(at) * 2;
  };
  ASSERT_TRUE(dense.call(runtime(), options(), [](KdaDecodeArgs&) {}));
  Index strides[3];
  ASSERT_TRUE(packed.call(runtime(), options(), [&](KdaDecodeArgs& args) {
    view(packed.q, 0, 64, &args.q, &strides[0]);
    view(packed.k, 64, 64, &args.k, &strides[1]);
    view(packed.v, 128, 128, &args.v, &strides[2]);
  }));
  EXPECT_EQ(dense.out.memory(), packed.out.memory());
  EXPECT_EQ(dense.state.memory(), packed.state.memory());
}

// With one token for each sequence, cu_seqlens says what the dense layout says.
TEST_P(KdaEdges, DenseEqualsVarlenToTheBit) {
  KdaProblem dense = problem();
  KdaProblem varlen({}, Tokens::varlen, {1, 1, 1}, 5);
  ASSERT_TRUE(dense.call(runtime(), options(), [](KdaDecodeArgs&) {}));
  ASSERT_TRUE(varlen.call(runtime(), options(), [](KdaDecodeArgs&) {}));
  EXPECT_EQ(dense.out.memory(), varlen.out.memory());
  EXPECT_EQ(dense.state.memory(), varlen.state.memory());
}

// As a padded graph has them.
TEST_P(KdaEdges, SequencesWithoutTokensKeepTheirState) {
  KdaProblem p({}, Tokens::varlen, {1, 0, 1, 0}, 5);
  check(p);
}

// Slots far into a pool of more than 2^31 elements, most of which no memory stands behind.
TEST_P(KdaEdges, APoolBeyond31Bits) {
  constexpr std::int64_t kSlots = (std::int64_t{1} << 31) / (2 * 64 * 64) + 8;
  constexpr std::size_t kSlotBytes = 2 * 64 * 64 * sizeof(float);
  constexpr std::size_t kBytes = kSlots * kSlotBytes;
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::unique_ptr<void, void (*)(void*)> owner(memory, [](void* at) { munmap(at, kBytes); });
  KdaProblem small = problem(2, 2);
  small.slots = {0, 1};
  KdaProblem big = small;
  const std::int64_t slots[] = {kSlots - 1, 3};
  const auto at = [&](std::int64_t slot) {
    return static_cast<std::byte*>(memory) + static_cast<std::size_t>(slot) * kSlotBytes;
  };
  for (const std::size_t i : {0U, 1U}) {
    std::memcpy(at(slots[i]), small.state.memory().data() + i * kSlotBytes, kSlotBytes);
  }
  big.slots = {slots[0], slots[1]};
  ASSERT_TRUE(small.call(runtime(), options(), [](KdaDecodeArgs&) {}));
  Index extents = {kSlots, 2, 64, 64};
  ASSERT_TRUE(big.call(runtime(), options(), [&](KdaDecodeArgs& args) {
    args.state.data = memory;
    args.state.shape = extents.data();
    args.state.strides = nullptr;
  }));
  EXPECT_EQ(small.out.memory(), big.out.memory());
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_EQ(std::memcmp(at(slots[i]), small.state.memory().data() + i * kSlotBytes, kSlotBytes),
              0);
  }
}

// Every argument that is no part of the shape, changed: another result, and no compile.
TEST_P(KdaEdges, RunTimeArgumentsCompileNothing) {
  KdaProblem first = problem();
  ASSERT_TRUE(first.call(runtime(), options(), [](KdaDecodeArgs&) {}));
  const Counters before = runtime().counters();
  using Change = std::function<void(KdaDecodeArgs&)>;
  for (const Change& change : {Change([](auto& args) { args.scale = 0.7F; }),
                               Change([](auto& args) { args.l2norm_eps = 4.0F; }),
                               Change([](auto& args) { args.softplus_beta = 2.0F; }),
                               Change([](auto& args) { args.softplus_threshold = -1.0F; })}) {
    KdaProblem p = problem();
    change(p.numbers);
    check(p);
    EXPECT_NE(p.out.memory(), first.out.memory());
  }
  for (const std::int64_t batch : {1, 5, 33}) {
    KdaProblem p = problem(batch, batch * 2);
    check(p);
  }
  KdaProblem gaps = problem();
  gaps.state = StridedTensor(f32, {5, 2, 64, 64}, {3 * 4096 + 16, 4096 + 8, 64, 1}, 4);
  gaps.out = StridedTensor(bf16, {3, 2, 64}, {2 * 64 + 24, 72, 1}, 8);
  gaps.q = StridedTensor(bf16, {3, 1, 64}, {64 + 8, 64, 1});
  gaps.fill(9);
  check(gaps);
  EXPECT_EQ(runtime().counters().compiles, before.compiles);
}

}  // namespace
}  // namespace kiln::test
