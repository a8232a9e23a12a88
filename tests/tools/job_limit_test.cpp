// SPDX-License-Identifier: Apache-2.0
#include "tools/job_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace kiln::cli {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// Runs `count` jobs of `each_bytes` on threads of their own; the most that ran at a time. Each
// waits in its place until nobody else comes in, so that what may run together does.
int most_of(JobLimit& limit, int count, std::uint64_t each_bytes) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      limit.enter();
      for (int k = 0; k < 20'000; ++k) std::this_thread::yield();
      limit.leave(each_bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return limit.seen().most_at_once;
}

TEST(JobLimit, NeverMoreThanAskedFor) {
  JobLimit limit(3, [] { return std::uint64_t{1} << 40; });
  EXPECT_LE(most_of(limit, 12, kMiB), 3);
  EXPECT_EQ(limit.seen().memory_bytes_max, kMiB);
}

TEST(JobLimit, OneAlwaysRuns) {
  JobLimit limit(8, [] { return std::uint64_t{0}; });
  EXPECT_EQ(most_of(limit, 6, 4096 * kMiB), 1);
}

// What one took says how many fit: 3 of 300 MiB into 1000 MiB, not 8.
TEST(JobLimit, TheMeasuredMemoryOfOneBoundsThemAll) {
  JobLimit limit(8, [] { return 1000 * kMiB; });
  limit.enter();
  limit.leave(300 * kMiB);
  EXPECT_LE(most_of(limit, 12, 300 * kMiB), 3);
  limit.enter();
  limit.leave(100 * kMiB);  // the largest one counts
  EXPECT_EQ(limit.seen().memory_bytes_max, 300 * kMiB);
}

TEST(JobLimit, TheSecondWaitsForTheFirstToLeave) {
  JobLimit limit(1, [] { return std::uint64_t{1} << 40; });
  limit.enter();
  std::atomic<bool> entered{false};
  std::thread second([&] {
    limit.enter();
    entered = true;
    limit.leave(0);
  });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  EXPECT_FALSE(entered);
  limit.leave(0);
  second.join();
  EXPECT_TRUE(entered);
}

TEST(FreeMemory, IsSomeOfThisMachines) {
  EXPECT_GT(free_memory_bytes(), kMiB);
  EXPECT_LT(free_memory_bytes(), std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace kiln::cli
