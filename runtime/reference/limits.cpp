// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "runtime/drivers/thread_pool.h"
#include "runtime/reference/memory_passes.h"

namespace kiln {
namespace {

constexpr std::int64_t kWords = std::int64_t{1} << 28;
constexpr std::int64_t kWordsPerItem = std::int64_t{1} << 16;
constexpr int kPasses = 4;

#if defined(__x86_64__)
#define KILN_FUSED __attribute__((target_clones("avx512f", "fma", "default"), optimize("O3")))
#else
#define KILN_FUSED
#endif

constexpr int kChains = 16;  // enough to fill the pipelines: latency 4, two units
constexpr int kLanes = 16;   // of the widest vectors
constexpr std::int64_t kSteps = 1 << 16;

KILN_FUSED float multiply_add(std::int64_t rounds) {
  float sums[kChains][kLanes] = {};
  for (std::int64_t i = 0; i < rounds * kSteps; ++i) {
    for (auto& chain : sums) {
      for (float& lane : chain) lane = __builtin_fmaf(lane, 0.5F, 1.0F);
    }
  }
  float all = 0;
  for (const auto& chain : sums) {
    for (const float lane : chain) all += lane;
  }
  return all;
}

}  // namespace

double measure_bandwidth(std::string_view traffic) {
  ThreadPool pool;
  struct Free {
    void operator()(std::uint32_t* memory) const { std::free(memory); }
  };
  constexpr std::size_t kBytes = kWords * sizeof(std::uint32_t);
  const std::unique_ptr<std::uint32_t, Free> data(
      static_cast<std::uint32_t*>(std::aligned_alloc(kPassBytes, kBytes)));
  if (!data) throw std::bad_alloc();
  const bool writes = traffic == "read-modify-write";
  std::atomic<std::uint32_t> sink{0};  // keeps the sums from being optimized away
  const auto pass = [&](unsigned, std::int64_t first, std::int64_t last) {
    std::uint32_t* from = data.get() + first * kWordsPerItem;
    const std::int64_t bytes = (last - first) * kWordsPerItem * std::int64_t{sizeof *from};
    if (writes) {
      read_modify_write_pass(from, bytes);
    } else {
      sink += read_pass(from, bytes);
    }
  };
  const auto touch = [&](unsigned, std::int64_t first, std::int64_t last) {
    std::fill(data.get() + first * kWordsPerItem, data.get() + last * kWordsPerItem, 1U);
  };
  pool.run(kWords / kWordsPerItem, touch);
  double best_s = 1e9;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(kWords / kWordsPerItem, pass);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best_s = std::min(best_s, took.count());
  }
  return (writes ? 2.0 : 1.0) * kWords * sizeof(std::uint32_t) / best_s / 1e9;
}

double measure_arithmetic() {
  ThreadPool pool;
  std::atomic<float> sink{0};
  const std::int64_t items = 8 * static_cast<std::int64_t>(pool.workers());
  double best_s = 1e9;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(items, [&](unsigned, std::int64_t first, std::int64_t last) {
      sink = multiply_add(last - first);
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best_s = std::min(best_s, took.count());
  }
  return 2.0 * kChains * kLanes * static_cast<double>(items * kSteps) / best_s / 1e9;
}

}  // namespace kiln
