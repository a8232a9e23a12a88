// SPDX-License-Identifier: Apache-2.0
// A call whose kernel is loaded allocates nothing: operator new is counted in this program.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "tests/runtime/embed/sample_calls.h"
#include "tests/runtime/embed/stub_runtime.h"

namespace {
thread_local std::uint64_t allocations = 0;
}  // namespace

// Not inlined: GCC would see malloc() meet operator delete and call it a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto to = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(to, (bytes + to - 1) / to * to)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace kiln::test {
namespace {

class HotPathTest : public testing::Test {
 protected:
  HotPathTest() {
    for (const Op& op : ops()) stub_.store_kernels(op, sample_shape(op));
  }

  StubRuntime stub_{KILN_QUIET_CUDA};
  SampleTensors tensors_{{kDLCUDA, 1}};
  const std::vector<SampleCall> calls_ = sample_calls(tensors_);
};

TEST(HotPathCountTest, TheCounterCounts) {
  const std::uint64_t before = allocations;
  ::operator delete(::operator new(8));
  EXPECT_GT(allocations, before);
}

TEST_F(HotPathTest, EveryOpIsAmongTheSamples) {
  EXPECT_EQ(calls_.size(), ops().size());
}

TEST_F(HotPathTest, AWarmCallAllocatesNothing) {
  for (const SampleCall& each : calls_) {
    const auto cold = each.call(*stub_, {});
    ASSERT_TRUE(cold) << cold.error().message;
    const std::uint64_t launches = stub_.launches();
    const std::uint64_t before = allocations;
    for (int i = 0; i < 100; ++i) {
      if (!each.call(*stub_, {}) || !each.call_with_other_batch(*stub_, {})) ADD_FAILURE();
    }
    EXPECT_EQ(allocations, before) << each.op;
    EXPECT_GE(stub_.launches(), launches + 200) << each.op;
  }
}

// Each of kda_decode's implementations, those that better ones make room for too: a no on the way
// to them costs no allocation either.
TEST_F(HotPathTest, EveryImplementationOfKdaDecodeIsReachedWithoutAllocations) {
  KdaDecodeArgs misaligned = sample_kda_decode(tensors_, 4);
  misaligned.q.byte_offset = 2;
  KdaDecodeArgs several = sample_kda_decode(tensors_, 4);
  several.q = several.k = several.v = several.a = several.out = tensors_.bf16({4, 3, 8, 128});
  several.b = tensors_.bf16({4, 3, 8});
  const struct {
    KdaDecodeArgs args;
    const char* implementation;
  } cases[] = {{sample_kda_decode(tensors_, 4), "kda_decode/small_batch"},
               {sample_kda_decode(tensors_, 512), "kda_decode/large_batch"},
               {misaligned, "kda_decode/several_tokens"},
               {several, "kda_decode/several_tokens"}};
  for (const auto& [args, implementation] : cases) {
    Selection selected;
    CallOptions options;
    options.selected = &selected;
    const auto first = kda_decode(*stub_, args, options);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(selected.implementation->name, implementation);
    const std::uint64_t before = allocations;
    for (int i = 0; i < 100; ++i) {
      if (!kda_decode(*stub_, args, {})) ADD_FAILURE();
    }
    EXPECT_EQ(allocations, before) << implementation;
  }
}

// And those of kda_prefill: with a workspace in two launches.
TEST_F(HotPathTest, EveryImplementationOfKdaPrefillIsReachedWithoutAllocations) {
  const KdaPrefillArgs chunked = sample_kda_prefill(tensors_, 4096);
  KdaPrefillArgs parallel = chunked, small_workspace = chunked;
  const auto floats = kda_prefill_workspace_floats(chunked);
  ASSERT_TRUE(floats) << floats.error().message;
  parallel.workspace = tensors_.f32({*floats});
  small_workspace.workspace = tensors_.f32({*floats - 1});
  const struct {
    KdaPrefillArgs args;
    const char* implementation;
    std::uint64_t launches;
  } cases[] = {{parallel, "kda_prefill/chunk_parallel", 2},
               {chunked, "kda_prefill/chunked", 1},
               {small_workspace, "kda_prefill/chunked", 1},
               {sample_kda_prefill(tensors_, 4), "kda_prefill/lane_rows", 1}};
  for (const auto& [args, implementation, launches] : cases) {
    Selection selected;
    CallOptions options;
    options.selected = &selected;
    const auto first = kda_prefill(*stub_, args, options);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(selected.implementation->name, implementation);
    const std::uint64_t launched = stub_.launches();
    const std::uint64_t before = allocations;
    for (int i = 0; i < 100; ++i) {
      if (!kda_prefill(*stub_, args, {})) ADD_FAILURE();
    }
    EXPECT_EQ(allocations, before) << implementation;
    EXPECT_EQ(stub_.launches(), launched + 100 * launches) << implementation;
  }
}

// Into a graph, with a gate, in one launch and in two.
TEST_F(HotPathTest, EveryImplementationOfAGatedRouterIsCapturedWithoutAllocations) {
  const Op& op = **find_op("router_gemm");
  stub_.store_kernels(op,
                      take(parse_arguments(op, std::vector<NameValue>{{"gate", "softmax"}})).shape);
  const auto sample = [&](std::int64_t tokens) {
    RouterGemmArgs args = sample_router_gemm(tensors_, tokens);
    args.gate.emplace();
    args.gate->scores = RouterScores::softmax;
    args.gate->ids = tensors_.i32({tokens, 8});
    args.gate->weights = tensors_.f32({tokens, 8});
    return args;
  };
  RouterGemmArgs misaligned = sample(4), one_launch = sample(4);
  misaligned.a.byte_offset = 2;
  one_launch.workspace = tensors_.f32({1024});
  const struct {
    RouterGemmArgs args;
    const char* implementation;
    std::uint64_t launches;
  } cases[] = {{sample(4), "router_gemm/few_tokens", 2},
               {one_launch, "router_gemm/few_tokens", 1},
               {sample(64), "router_gemm/matrix_tiles", 2},
               {misaligned, "router_gemm/dot_tiles", 2}};
  int stream = 0;
  CallOptions on_stream;
  on_stream.stream = {&stream};
  stub_.capture(true);
  const auto missed = router_gemm(*stub_, cases[0].args, on_stream);
  ASSERT_FALSE(missed);
  EXPECT_NE(missed.error().message.find("captured"), std::string::npos) << missed.error().message;
  for (const auto& [args, implementation, launches] : cases) {
    Selection selected;
    CallOptions options = on_stream;
    options.selected = &selected;
    stub_.capture(false);
    const auto first = router_gemm(*stub_, args, options);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(selected.implementation->name, implementation);
    stub_.capture(true);
    const std::uint64_t launched = stub_.launches();
    const std::uint64_t before = allocations;
    for (int i = 0; i < 100; ++i) {
      if (!router_gemm(*stub_, args, on_stream)) ADD_FAILURE();
    }
    EXPECT_EQ(allocations, before) << implementation;
    EXPECT_EQ(stub_.launches(), launched + 100 * launches) << implementation;
  }
  const QkRmsnormArgs norm = sample_qk_rmsnorm(tensors_, 4);
  const auto allocating =
      fused_qk_rmsnorm(*stub_, norm.q, norm.q_weight, 1e-6F, norm.k, norm.k_weight, 1e-6F);
  stub_.capture(false);
  ASSERT_FALSE(allocating);
  EXPECT_NE(allocating.error().message.find("captured"), std::string::npos)
      << allocating.error().message;
}

TEST_F(HotPathTest, ACallThatNamesItsArchAllocatesNothing) {
  CallOptions options;
  options.arch = *Arch::parse("sm_90a");
  for (const SampleCall& each : calls_) {
    ASSERT_TRUE(each.call(*stub_, options));
    const std::uint64_t before = allocations;
    for (int i = 0; i < 100; ++i) {
      if (!each.call(*stub_, options)) ADD_FAILURE();
    }
    EXPECT_EQ(allocations, before) << each.op;
  }
}

TEST_F(HotPathTest, AnotherBatchIsNoOtherKernel) {
  for (const SampleCall& each : calls_) {
    ASSERT_TRUE(each.call(*stub_, {}));
    const Counters before = stub_->counters();
    ASSERT_TRUE(each.call_with_other_batch(*stub_, {}));
    EXPECT_EQ(stub_->counters(), before) << each.op;
  }
}

TEST_F(HotPathTest, ManyThreadsCallWhileOthersUnload) {
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const SampleCall& each = calls_[static_cast<std::size_t>(i + t) % calls_.size()];
        if (!each.call(*stub_, {})) ++failures;
        if (t == 0 && i % 20 == 0) {
          const Op& op = **find_op(each.op);
          if (!stub_->unload({&op, sample_shape(op), {kDLCUDA, 1}, {}})) ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace kiln::test
