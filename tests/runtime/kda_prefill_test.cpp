// SPDX-License-Identifier: Apache-2.0
// The public kda_prefill: it meets kda_decode in the state, sequences may be cut into calls, and
// what it says of tensors that it cannot take.
#include "kiln/kda_prefill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "kiln/kda_decode.h"
#include "runtime/reference/sequence_lengths.h"
#include "tests/runtime/kda_places.h"
#include "tests/runtime/strided_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

using test::StridedTensor;
using enum ElementType;

constexpr std::int64_t kHeads = 1, kValueHeads = 2, kSize = 128, kPool = 3;

struct Integers {
  std::vector<std::int32_t> values;
  std::vector<std::int64_t> shape;
  DLTensor dl() {
    shape = {static_cast<std::int64_t>(values.size())};
    DLTensor tensor{};
    tensor.data = values.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = {kDLInt, 32, 1};
    tensor.shape = shape.data();
    return tensor;
  }
};

// `count` tokens of a tensor from `first` on; lives as long as the tensor that it is a view of.
class TokenView {
 public:
  TokenView(StridedTensor& tensor, std::int64_t first, std::int64_t count)
      : shape_(tensor.shape()), dl_(tensor.dl()) {
    shape_[0] = count;
    dl_.byte_offset +=
        static_cast<std::uint64_t>(first * tensor.strides()[0]) * size_bytes_of(tensor.type());
    dl_.shape = shape_.data();
  }
  TokenView(const TokenView&) = delete;
  const DLTensor& dl() const { return dl_; }

 private:
  std::vector<std::int64_t> shape_;
  DLTensor dl_;
};

struct Problem {
  std::int64_t total;
  StridedTensor q, k, v, a, b, out;
  StridedTensor a_log{f32, {kValueHeads}};
  StridedTensor dt_bias{f32, {kValueHeads, kSize}};
  StridedTensor state{f32, {kPool, kValueHeads, kSize, kSize}};

  explicit Problem(std::int64_t tokens)
      : total(tokens),
        q(bf16, {total, kHeads, kSize}),
        k(bf16, {total, kHeads, kSize}),
        v(bf16, {total, kValueHeads, kSize}),
        a(bf16, {total, kValueHeads, kSize}),
        b(bf16, {total, kValueHeads}),
        out(bf16, {total, kValueHeads, kSize}) {
    Random random(3);
    for (StridedTensor* tensor : {&q, &k, &v, &b, &a_log, &dt_bias, &state}) {
      tensor->fill([&] { return random.uniform(-1, 1); });
    }
    a.fill([&] { return random.uniform(-6, 2); });
  }
};

class KdaPrefillTest : public test::LlvmTest {
 protected:
  // The recurrence, which gives the bits of kda_decode whatever the number of tokens.
  Runtime* runtime_ = &test::runtime_of("kda_prefill/cpu");
  CallOptions options_;

  // Tokens from `first` on as sequences of these lengths.
  Result<void> prefill(Problem& problem, std::int64_t first,
                       const std::vector<std::int64_t>& lengths, std::vector<std::int32_t> slots,
                       const std::function<void(KdaPrefillArgs&)>& change = {}) const {
    Integers starts{starts_of(lengths), {}};
    Integers slot_tensor{std::move(slots), {}};
    const std::int64_t count = starts.values.back();
    const TokenView q(problem.q, first, count), k(problem.k, first, count);
    const TokenView v(problem.v, first, count), a(problem.a, first, count);
    const TokenView b(problem.b, first, count), out(problem.out, first, count);
    KdaPrefillArgs args{};
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.a = a.dl();
    args.b = b.dl();
    args.A_log = problem.a_log.dl();
    args.dt_bias = problem.dt_bias.dl();
    args.state = problem.state.dl();
    args.slots = slot_tensor.dl();
    args.cu_seqlens = starts.dl();
    args.out = out.dl();
    if (change) change(args);
    std::vector<float> workspace;
    std::vector<std::int64_t> floats = {0};
    if (options_.arch) {
      KILN_TRY_ASSIGN(floats[0], kda_prefill_workspace_floats(args));
      workspace.assign(static_cast<std::size_t>(floats[0]), std::nanf(""));
      args.workspace = args.A_log;  // its type and device
      args.workspace.data = workspace.data();
      args.workspace.shape = floats.data();
      args.workspace.strides = nullptr;
      args.workspace.byte_offset = 0;
    }
    return kda_prefill(*runtime_, args, options_);
  }

  // By an implementation of GPUs, on the SIMT machine; the native CPU's are there without an arch.
  void use(const std::string& implementation, const char* arch) {
    runtime_ = &test::runtime_of("kda_prefill/" + implementation);
    if (*arch != '\0') options_.arch = *Arch::parse(arch);
  }

  // One token of one sequence.
  static Result<void> decode(Problem& problem, std::int64_t token, std::int32_t slot) {
    Integers slots{{slot}, {}};
    const TokenView q(problem.q, token, 1), k(problem.k, token, 1), v(problem.v, token, 1);
    const TokenView a(problem.a, token, 1), b(problem.b, token, 1), out(problem.out, token, 1);
    KdaDecodeArgs args{};
    args.q = q.dl();
    args.k = k.dl();
    args.v = v.dl();
    args.a = a.dl();
    args.b = b.dl();
    args.A_log = problem.a_log.dl();
    args.dt_bias = problem.dt_bias.dl();
    args.state = problem.state.dl();
    args.slots = slots.dl();
    args.out = out.dl();
    return kda_decode(llvm().runtime(), args);
  }

  static void expect_same(const Problem& one, const Problem& other) {
    EXPECT_EQ(one.out.memory(), other.out.memory());
    EXPECT_EQ(one.state.memory(), other.state.memory());
  }
};

// Stated rounding: none. Both take a token through the same text, kda/cpu_rows.h.
TEST_F(KdaPrefillTest, PrefillThenDecodeIsDecodeAllAlong) {
  constexpr std::int64_t kPrefilled = 37, kTokens = 41;
  Problem both(kTokens);
  ASSERT_TRUE(prefill(both, 0, {kPrefilled}, {2}));
  for (std::int64_t t = kPrefilled; t < kTokens; ++t) ASSERT_TRUE(decode(both, t, 2));
  Problem decoded(kTokens);
  for (std::int64_t t = 0; t < kTokens; ++t) ASSERT_TRUE(decode(decoded, t, 2));
  expect_same(both, decoded);
}

TEST_F(KdaPrefillTest, ASequenceCutIntoCallsIsOneCall) {
  Problem whole(50);
  ASSERT_TRUE(prefill(whole, 0, {50}, {1}));
  for (const std::int64_t cut : {0, 1, 16, 49, 50}) {
    SCOPED_TRACE(cut);
    Problem parts(50);
    ASSERT_TRUE(prefill(parts, 0, {cut}, {1}));
    ASSERT_TRUE(prefill(parts, cut, {50 - cut}, {1}));
    expect_same(parts, whole);
  }
}

// Chunks begin where a call begins, so that only rounding tells a cut sequence from a whole one;
// and a decode goes on from the state of any of them.
TEST_F(KdaPrefillTest, ACutSequenceOfChunksIsOneCallToRounding) {
  constexpr std::int64_t kTokens = 50;
  const auto near = [](const StridedTensor& one, const StridedTensor& other, double allowed) {
    const auto a = one.values(), b = other.values();
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      most = std::max(most, std::abs(a[i] - b[i]) - std::abs(b[i]) / 128);
    }
    EXPECT_LT(most, allowed);
  };
  Problem decoded(kTokens);
  for (std::int64_t t = 0; t < kTokens; ++t) ASSERT_TRUE(decode(decoded, t, 1));
  const struct {
    const char *implementation, *arch;
    std::vector<std::int64_t> cuts;
  } kWays[] = {{"chunked_cpu", "", {0, 1, 15, 16, 17, 31, 49, 50}},
               {"chunk_parallel", "simt", {17}},
               {"chunk_parallel", "simt:warp64", {16}},
               {"chunked", "simt", {1}}};
  for (const auto& [implementation, arch, cuts] : kWays) {
    SCOPED_TRACE(implementation);
    use(implementation, arch);
    for (const std::int64_t cut : cuts) {
      SCOPED_TRACE(cut);
      Problem parts(kTokens);
      ASSERT_TRUE(prefill(parts, 0, {cut}, {1}));
      ASSERT_TRUE(prefill(parts, cut, {kTokens - cut}, {1}));
      near(parts.out, decoded.out, 3e-5);
      near(parts.state, decoded.state, 3e-5);
    }
    Problem then_decoded(kTokens);
    ASSERT_TRUE(prefill(then_decoded, 0, {kTokens - 9}, {1}));
    for (std::int64_t t = kTokens - 9; t < kTokens; ++t) ASSERT_TRUE(decode(then_decoded, t, 1));
    near(then_decoded.out, decoded.out, 3e-5);
    near(then_decoded.state, decoded.state, 3e-5);
  }
}

// A checkpoint is the state that a call up to it leaves, and a sequence that begins from it goes on
// as if it had not been cut: to the bit, since chunks begin in the same places.
TEST_F(KdaPrefillTest, CheckpointsAreStatesToGoOnFrom) {
  const std::pair<const char*, const char*> kWays[] = {
      {"cpu", ""}, {"chunked_cpu", ""}, {"chunk_parallel", "simt"}, {"chunked", "simt:warp64"}};
  for (const auto& [implementation, arch] : kWays) {
    SCOPED_TRACE(implementation);
    use(implementation, arch);
    Problem whole(50);
    std::vector<std::int32_t> places = {-1, 0, 7};  // after 16 nowhere, 32: slot 0, 48: no slot
    std::vector<std::int64_t> extents = {1, 3};
    ASSERT_TRUE(prefill(whole, 0, {50}, {1}, [&](KdaPrefillArgs& args) {
      args.checkpoints = args.state;
      args.checkpoint_slots = args.slots;
      args.checkpoint_slots.data = places.data();
      args.checkpoint_slots.ndim = 2;
      args.checkpoint_slots.shape = extents.data();
      args.checkpoint_every = 16;
    }));
    Problem parts(50);
    ASSERT_TRUE(prefill(parts, 0, {32}, {0}, [&](KdaPrefillArgs& args) {
      args.initial_slots = args.slots;
      static std::int32_t from = 1;
      args.initial_slots.data = &from;
    }));
    ASSERT_TRUE(prefill(parts, 32, {18}, {1}, [&](KdaPrefillArgs& args) {
      args.initial_slots = args.slots;
      static std::int32_t from = 0;
      args.initial_slots.data = &from;
    }));
    expect_same(parts, whole);
    Problem from_nothing(50), from_zero(50);
    ASSERT_TRUE(prefill(from_nothing, 0, {50}, {1}, [&](KdaPrefillArgs& args) {
      args.initial_slots = args.slots;
      static std::int32_t from = -1;
      args.initial_slots.data = &from;
    }));
    ASSERT_TRUE(prefill(from_zero, 0, {50}, {1},
                        [](KdaPrefillArgs& args) { args.initial_state = InitialState::zero; }));
    expect_same(from_nothing, from_zero);
  }
}

TEST_F(KdaPrefillTest, PackedSequencesAreSequencesOnTheirOwn) {
  Problem packed(12);
  ASSERT_TRUE(prefill(packed, 0, {5, 0, 7}, {2, 1, 0}));
  Problem apart(12);
  ASSERT_TRUE(prefill(apart, 0, {5}, {2}));
  ASSERT_TRUE(prefill(apart, 5, {7}, {0}));
  expect_same(packed, apart);
}

TEST_F(KdaPrefillTest, AZeroInitialStateForgetsTheSlot) {
  const auto from_zero = [](KdaPrefillArgs& args) { args.initial_state = InitialState::zero; };
  Problem asked(9);
  ASSERT_TRUE(prefill(asked, 0, {9}, {1}, from_zero));
  Problem cleared(9);
  const Bytes filled = cleared.state.memory();
  cleared.state.fill([] { return 0.0F; });
  ASSERT_TRUE(prefill(cleared, 0, {9}, {1}));
  EXPECT_EQ(asked.out.memory(), cleared.out.memory());
  const std::size_t slot_bytes = kValueHeads * kSize * kSize * sizeof(float);
  const auto slot = [&](const Bytes& state, std::size_t i) {
    return Bytes(state.begin() + static_cast<std::ptrdiff_t>(i * slot_bytes),
                 state.begin() + static_cast<std::ptrdiff_t>((i + 1) * slot_bytes));
  };
  EXPECT_EQ(slot(asked.state.memory(), 1), slot(cleared.state.memory(), 1));
  EXPECT_EQ(slot(asked.state.memory(), 0), slot(filled, 0));

  Problem empty(1);  // the state after no token is the initial one
  ASSERT_TRUE(prefill(empty, 0, {0}, {1}, from_zero));
  EXPECT_EQ(slot(empty.state.memory(), 1), Bytes(slot_bytes, std::byte{0}));
}

TEST_F(KdaPrefillTest, InactiveSlotsGiveZerosAndTouchNoState) {
  for (const std::int32_t slot : {-1, std::int32_t{kPool}}) {
    Problem problem(4);
    const Bytes before = problem.state.memory();
    ASSERT_TRUE(prefill(problem, 0, {4}, {slot}));
    EXPECT_EQ(problem.state.memory(), before);
    for (const double value : problem.out.values()) EXPECT_EQ(value, 0);
  }
}

TEST_F(KdaPrefillTest, LengthsAndInitialStateCompileNothing) {
  Problem problem(20);
  ASSERT_TRUE(prefill(problem, 0, {3}, {1}));
  const Counters before = runtime_->counters();
  ASSERT_TRUE(prefill(problem, 0, {3, 17}, {1, 0}, [](KdaPrefillArgs& args) {
    args.initial_state = InitialState::zero;
    args.scale = 2.0F;
  }));
  EXPECT_EQ(runtime_->counters().compiles, before.compiles);
}

TEST_F(KdaPrefillTest, SaysWhichTensorDoesNotFit) {
  struct Case {
    std::function<void(KdaPrefillArgs&)> spoil;
    std::string message;
  };
  std::int64_t two = 2;
  std::int64_t no_heads[] = {4, 0, kSize};
  std::int64_t wide_rows[] = {kValueHeads * kSize * 256, kSize * 256, 256, 1};
  const std::vector<Case> cases = {
      {[](auto& args) { args.v.data = nullptr; }, "tensor 'v' has no data"},
      {[](auto& args) { args.state.ndim = 3; }, "tensor 'state' has 3 dimensions, not 4"},
      {[&](auto& args) { args.slots.shape = &two; }, "tensor 'cu_seqlens' has shape [2], not"},
      {[](auto& args) {
         args.cu_seqlens.dtype = {kDLInt, 64, 1};
       },
       "tensor 'cu_seqlens' holds i64, not i32"},
      {[](auto& args) { args.cu_seqlens = DLTensor{}; }, "tensor 'q' has 3 dimensions, not 4"},
      {[](auto& args) {
         args.initial_slots = args.slots;
         args.initial_state = InitialState::zero;
       },
       "every state is to begin with zeros"},
      {[](auto& args) {
         args.checkpoints = args.state;
         args.checkpoint_every = 0;
       },
       "checkpoint_every is 0"},
      {[](auto& args) {
         args.checkpoints = args.state;
         args.checkpoint_slots = args.slots;
       },
       "tensor 'checkpoint_slots' has 1 dimensions, not 2"},
      {[](auto& args) {
         args.gate = KdaGate::lower_bound;
         args.lower_bound = 1;
       },
       "lower_bound is 1"},
      {[&](auto& args) { args.q.shape = no_heads; }, "tensor 'q' has 0 heads"},
      {[&](auto& args) { args.state.strides = wide_rows; }, "tensor 'state' has stride 256"},
  };
  for (const Case& one : cases) {
    Problem problem(4);
    const auto done = prefill(problem, 0, {4}, {0}, one.spoil);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

}  // namespace
}  // namespace kiln
