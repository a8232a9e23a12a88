// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace kiln {
namespace {

// How often each item ran.
std::vector<int> counts_of(ThreadPool& pool, std::int64_t items) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(items));
  pool.run(items, [&](unsigned worker, std::int64_t first, std::int64_t last) {
    EXPECT_LT(worker, pool.workers());
    for (std::int64_t i = first; i < last; ++i) ++counts[static_cast<std::size_t>(i)];
  });
  return {counts.begin(), counts.end()};
}

TEST(ThreadPool, RunsEveryItemOnce) {
  for (const unsigned workers : {1U, 2U, 7U}) {
    ThreadPool pool(workers);
    for (const std::int64_t items : {0, 1, 2, 13, 1000}) {
      EXPECT_EQ(counts_of(pool, items), std::vector<int>(static_cast<std::size_t>(items), 1));
    }
  }
}

TEST(ThreadPool, LaunchesFromSeveralThreadsDoNotMix) {
  ThreadPool pool(4);
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&pool] {
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(counts_of(pool, 64), std::vector<int>(64, 1));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(ThreadPool, AWorkerNumberIsUsedByOneLaunchAtATime) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> shared{false};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.run(1, [&](unsigned, std::int64_t, std::int64_t) {
          if (++inside > 1) shared = true;
          std::this_thread::yield();
          --inside;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_FALSE(shared);
}

// Longer than threads look out for work, and callers for the end of it, before they sleep.
TEST(ThreadPool, ThreadsThatSleepAreWoken) {
  using namespace std::chrono_literals;
  ThreadPool pool(2);
  ASSERT_EQ(counts_of(pool, 100), std::vector<int>(100, 1));
  std::this_thread::sleep_for(5ms);
  std::atomic<int> started{0}, done{0};
  pool.run(2, [&](unsigned worker, std::int64_t, std::int64_t) {
    ++started;  // each item waits for the other: one thread alone cannot get through
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (started < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(started, 2);
    if (worker != 0) std::this_thread::sleep_for(5ms);
    ++done;
  });
  EXPECT_EQ(done, 2);
}

TEST(ThreadPool, AForkedChildStartsThreadsOfItsOwn) {
  ThreadPool pool(4);
  ASSERT_EQ(counts_of(pool, 100), std::vector<int>(100, 1));
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a pool that waits for the parent's threads would hang
    _exit(counts_of(pool, 100) == std::vector<int>(100, 1) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace kiln
