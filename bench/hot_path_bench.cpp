// SPDX-License-Identifier: Apache-2.0
// A warm typed call, from its first instruction to the return of a driver that does nothing, beside
// the bare launch call of that driver. Names of ops: only those.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <latch>
#include <mutex>
#include <thread>

#include "bench/interleaved.h"
#include "runtime/drivers/cuda_api.h"
#include "tests/runtime/embed/sample_calls.h"
#include "tests/runtime/embed/stub_runtime.h"

namespace {

using namespace kiln;

double thread_ns() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Nanoseconds of one thread's processor time for one call, while `threads` of them call at once.
template <class Call>
double ns_per_call(int threads, const Call& call) {
  constexpr int kCalls = 20000;
  std::latch ready(threads);
  std::mutex mutex;
  double total_ns = 0;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      call();
      ready.arrive_and_wait();
      const double start = thread_ns();
      for (int i = 0; i < kCalls; ++i) call();
      const double taken = thread_ns() - start;
      const std::lock_guard lock(mutex);
      total_ns += taken;
    });
  }
  for (std::thread& thread : all) thread.join();
  return total_ns / threads / kCalls;
}

void check(const Result<void>& result) {
  if (result) return;
  fmt::print(stderr, "{}\n", result.error().message);
  std::exit(1);
}

// All are, unless some are named.
bool is_asked_for(const std::string& op, int argc, char** argv) {
  const auto names_it = [&](const char* argument) { return op == argument; };
  const auto is_name = [](const char* argument) { return argument[0] != '-'; };
  return std::none_of(argv + 1, argv + argc, is_name) ||
         std::any_of(argv + 1, argv + argc, names_it);
}

}  // namespace

int main(int argc, char** argv) {
  test::StubRuntime stub(KILN_QUIET_CUDA);
  for (const Op& op : ops()) stub.store_kernels(op, test::sample_shape(op));
  test::SampleTensors tensors({kDLCUDA, 0});
  const auto calls = test::sample_calls(tensors);
  auto* const launch =
      stub.control<GpuStatus(const CudaLaunchConfig*, GpuFunctionHandle, void**, void**)>(
          "cuLaunchKernelEx");
  const auto bare = [&] {
    const CudaLaunchConfig config{{}, {}, 0, nullptr, nullptr, 0};
    if (launch(&config, nullptr, nullptr, nullptr) != kGpuSuccess) std::exit(1);
  };
  for (const int threads : {1, 8}) {
    std::vector<bench::Contestant> contestants = {
        {"bare cuLaunchKernelEx", [&] { return ns_per_call(threads, bare); }}};
    for (const test::SampleCall& each : calls) {
      if (!is_asked_for(each.op, argc, argv)) continue;
      contestants.push_back(
          {each.op, [&] { return ns_per_call(threads, [&] { check(each.call(*stub, {})); }); }});
    }
    bench::print({fmt::format("hot path, {} thread{}", threads, threads == 1 ? "" : "s"), "ns",
                  "the bare call of a driver that does nothing; the goal is 300 ns"},
                 bench::measure_interleaved(contestants, 11), bench::format_of(argc, argv));
  }
}
