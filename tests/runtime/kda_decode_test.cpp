// SPDX-License-Identifier: Apache-2.0
// The public kda_decode: what its tensors may be, and what it says of those it cannot take.
#include "kiln/kda_decode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "runtime/reference/trial_tensor.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

constexpr std::int64_t kBatch = 3, kHeads = 2, kValueHeads = 4, kSize = 128, kPool = 5;

// A tensor over memory of its own that it may use only in part.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  std::vector<std::byte> memory;
  DLTensor dl{};

  Tensor(DLDataType type, std::vector<std::int64_t> extents)
      : shape(std::move(extents)), strides(shape.size(), 1) {
    for (std::size_t i = shape.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * shape[i];
    memory.resize(static_cast<std::size_t>(strides[0] * shape[0]) * type.bits / 8);
    dl.data = memory.data();
    dl.device = {kDLCPU, 0};
    dl.ndim = static_cast<int>(shape.size());
    dl.dtype = type;
    dl.shape = shape.data();
    dl.strides = strides.data();
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(memory.data());
  }
};

constexpr DLDataType kBf16 = {kDLBfloat, 16, 1};
constexpr DLDataType kF32 = {kDLFloat, 32, 1};

struct Problem {
  Tensor q{kBf16, {kBatch, kHeads, kSize}};
  Tensor k{kBf16, {kBatch, kHeads, kSize}};
  Tensor v{kBf16, {kBatch, kValueHeads, kSize}};
  Tensor a{kBf16, {kBatch, kValueHeads, kSize}};
  Tensor b{kBf16, {kBatch, kValueHeads}};
  Tensor a_log{kF32, {kValueHeads}};
  Tensor dt_bias{kF32, {kValueHeads, kSize}};
  Tensor state{kF32, {kPool, kValueHeads, kSize, kSize}};
  Tensor slots{{kDLInt, 32, 1}, {kBatch}};
  Tensor out{kBf16, {kBatch, kValueHeads, kSize}};

  Problem() {
    Random random(7);
    for (Tensor* tensor : {&q, &k, &v, &a, &b}) {
      for (std::size_t i = 0; i < tensor->memory.size() / 2; ++i) {
        tensor->as<std::uint16_t>()[i] = bf16_of(random.uniform(-1, 1));
      }
    }
    for (Tensor* tensor : {&a_log, &dt_bias, &state}) {
      for (std::size_t i = 0; i < tensor->memory.size() / 4; ++i) {
        tensor->as<float>()[i] = random.uniform(-1, 1);
      }
    }
    const std::int32_t order[kBatch] = {4, 0, 2};
    std::copy(order, order + kBatch, slots.as<std::int32_t>());
  }

  KdaDecodeArgs args() {
    KdaDecodeArgs args{};
    args.q = q.dl;
    args.k = k.dl;
    args.v = v.dl;
    args.a = a.dl;
    args.b = b.dl;
    args.A_log = a_log.dl;
    args.dt_bias = dt_bias.dl;
    args.state = state.dl;
    args.slots = slots.dl;
    args.out = out.dl;
    return args;
  }
};

class KdaDecodeTest : public test::LlvmTest {
 protected:
  static void call(const KdaDecodeArgs& args) {
    const auto done = kda_decode(llvm().runtime(), args);
    ASSERT_TRUE(done) << done.error().message << done.error().log;
  }
};

// The first part of `tensor`'s rows, spread with a gap after each row of dimension 0.
Tensor with_gaps(Tensor& dense, std::int64_t gap) {
  const std::int64_t row = dense.strides[0];
  std::vector<std::int64_t> extents = dense.shape;
  Tensor spread(dense.dl.dtype, {extents[0], row + gap});
  const std::size_t size = dense.dl.dtype.bits / 8U;
  for (std::int64_t i = 0; i < extents[0]; ++i) {
    std::memcpy(spread.memory.data() + static_cast<std::size_t>(i * (row + gap)) * size,
                dense.memory.data() + static_cast<std::size_t>(i * row) * size,
                static_cast<std::size_t>(row) * size);
  }
  spread.shape = extents;
  std::vector<std::int64_t> strides = dense.strides;
  strides[0] = row + gap;
  spread.strides = strides;
  spread.dl.ndim = dense.dl.ndim;
  spread.dl.data = spread.memory.data();
  spread.dl.shape = spread.shape.data();
  spread.dl.strides = spread.strides.data();
  return spread;
}

TEST_F(KdaDecodeTest, StridedAndMisalignedViewsGiveTheSameBits) {
  Problem dense;
  call(dense.args());

  Problem strided;
  Tensor q = with_gaps(strided.q, 1);  // odd: rows begin at any 2-byte address
  Tensor k = with_gaps(strided.k, 3);
  Tensor v = with_gaps(strided.v, 5);
  Tensor a = with_gaps(strided.a, 7);
  Tensor b = with_gaps(strided.b, 9);
  Tensor state = with_gaps(strided.state, 64);
  Tensor out = with_gaps(strided.out, 11);
  for (Tensor* tensor : {&q, &k, &v, &a, &b, &state, &out}) {
    tensor->dl.data = tensor->memory.data();
    tensor->dl.shape = tensor->shape.data();
    tensor->dl.strides = tensor->strides.data();
  }
  KdaDecodeArgs args = strided.args();
  args.q = q.dl;
  args.k = k.dl;
  args.v = v.dl;
  args.a = a.dl;
  args.b = b.dl;
  args.state = state.dl;
  args.out = out.dl;
  call(args);
  const std::int64_t out_row = kValueHeads * kSize;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    EXPECT_EQ(std::memcmp(out.as<std::uint16_t>() + n * (out_row + 11),
                          dense.out.as<std::uint16_t>() + n * out_row, out_row * 2),
              0);
  }
  const std::int64_t slot = kValueHeads * kSize * kSize;
  for (std::int64_t p = 0; p < kPool; ++p) {
    EXPECT_EQ(std::memcmp(state.as<float>() + p * (slot + 64), dense.state.as<float>() + p * slot,
                          static_cast<std::size_t>(slot) * 4),
              0);
  }
}

TEST_F(KdaDecodeTest, WideSlotsAndAbsentStridesGiveTheSameBits) {
  Problem narrow;
  call(narrow.args());
  Problem wide;
  Tensor slots{{kDLInt, 64, 1}, {kBatch}};
  for (int i = 0; i < kBatch; ++i) {
    slots.as<std::int64_t>()[i] = wide.slots.as<std::int32_t>()[i];
  }
  KdaDecodeArgs args = wide.args();
  args.slots = slots.dl;
  args.q.strides = nullptr;
  args.state.strides = nullptr;
  call(args);
  EXPECT_EQ(wide.out.memory, narrow.out.memory);
  EXPECT_EQ(wide.state.memory, narrow.state.memory);
}

TEST_F(KdaDecodeTest, RunTimeArgumentsChangeResultsAndCompileNothing) {
  Problem problem;
  call(problem.args());
  const Counters before = llvm().runtime().counters();
  for (const std::function<void(KdaDecodeArgs&)>& change :
       {std::function<void(KdaDecodeArgs&)>([](auto& args) { args.scale = 2.0F; }),
        std::function<void(KdaDecodeArgs&)>([](auto& args) { args.l2norm_eps = 10.0F; }),
        std::function<void(KdaDecodeArgs&)>([](auto& args) { args.softplus_beta = 3.0F; }),
        std::function<void(KdaDecodeArgs&)>([](auto& args) { args.softplus_threshold = -9.0F; })}) {
    Problem changed;
    KdaDecodeArgs args = changed.args();
    change(args);
    call(args);
    EXPECT_NE(changed.out.memory, problem.out.memory);
  }
  EXPECT_EQ(llvm().runtime().counters().compiles, before.compiles);
}

TEST_F(KdaDecodeTest, SaysWhichTensorDoesNotFit) {
  struct Case {
    std::function<void(KdaDecodeArgs&, Problem&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](auto& args, auto&) { args.k.data = nullptr; }, "tensor 'k' has no data"},
      {[](auto& args, auto&) { args.v.dtype = kF32; }, "tensor 'v' holds f32, not bf16"},
      {[](auto& args, auto&) {
         args.q.dtype = {kDLInt, 8, 1};
       },
       "tensor 'q' holds DLPack code 0, 8 bits, 1 lanes, not one of bf16, f16, f32"},
      {[](auto& args, auto&) {
         args.state.dtype = {kDLFloat, 16, 1};
       },
       "tensor 'state' holds f16, not one of f32, bf16"},
      {[](auto& args, auto&) { args.A_log = {}; }, "tensor 'A_log' is absent"},
      {[](auto& args, auto&) { args.gate = KdaGate::lower_bound, args.lower_bound = 0; },
       "lower_bound is 0; it must be below 0"},
      {[](auto& args, auto&) { args.tokens_max = -1; }, "tokens_max is -1"},
      {[](auto& args, auto&) { args.q.ndim = 2; }, "tensor 'q' has 2 dimensions, not 3"},
      {[](auto&, auto& problem) { problem.q.shape[1] = 0; }, "tensor 'q' has 0 heads"},
      {[](auto&, auto& problem) { problem.q.shape[1] = 3; },
       "tensor 'q' has 3 heads and tensor 'v' 4"},
      {[](auto&, auto& problem) { problem.k.shape[1] = 1; }, "tensor 'k' has shape [3, 1, 128]"},
      {[](auto& args, auto&) {
         args.out.device = {kDLCUDA, 0};
       },
       "tensor 'out' is on CUDA device 0"},
      {[](auto& args, auto&) {
         args.slots.dtype = {kDLFloat, 32, 1};
       },
       "tensor 'slots' holds f32, not i32"},
      {[](auto&, auto& problem) { problem.state.strides[2] = 256; },
       "tensor 'state' has stride 256"},
      {[](auto&, auto& problem) { problem.dt_bias.strides[0] = 256; },
       "tensor 'dt_bias' has stride 256"},
  };
  for (const Case& one : cases) {
    Problem problem;
    KdaDecodeArgs args = problem.args();
    one.spoil(args, problem);
    const auto done = kda_decode(llvm().runtime(), args);
    ASSERT_FALSE(done) << one.message;
    EXPECT_EQ(done.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(done.error().message.find(one.message), std::string::npos) << done.error().message;
  }
}

TEST_F(KdaDecodeTest, AnUnsupportedHeadSizeIsUnavailableWithTheReason) {
  Problem problem;
  for (Tensor* tensor : {&problem.q, &problem.k, &problem.a, &problem.dt_bias}) {
    tensor->shape.back() = 96;
  }
  problem.dt_bias.strides[0] = 96;
  problem.state.shape[3] = 96;
  problem.state.strides = {kValueHeads * kSize * 96, kSize * 96, 96, 1};
  const auto done = kda_decode(llvm().runtime(), problem.args());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::unavailable);
  EXPECT_NE(done.error().message.find("K=96"), std::string::npos) << done.error().message;
}

TEST_F(KdaDecodeTest, TensorsOnADeviceWithoutADriverAreUnavailable) {
  Problem problem;
  KdaDecodeArgs args = problem.args();
  for (DLTensor* tensor : {&args.q, &args.k, &args.v, &args.a, &args.b, &args.A_log, &args.dt_bias,
                           &args.state, &args.slots, &args.out}) {
    tensor->device = {kDLVulkan, 0};
  }
  const auto done = kda_decode(llvm().runtime(), args);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace kiln
