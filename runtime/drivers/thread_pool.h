// SPDX-License-Identifier: Apache-2.0
// ThreadPool: splits the work items of one launch over the cores of this process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

namespace kiln {

// Threads start with the first launch that has work for them. One launch runs at a time; others
// wait. Thread-safe. After fork() the child starts threads of its own.
class ThreadPool {
 public:
  // Runs on `worker` (0 is the caller's thread) the items first <= i < last.
  using Work = std::function<void(unsigned worker, std::int64_t first, std::int64_t last)>;

  // As many workers as cores that this process may run on, the caller's thread among them.
  ThreadPool();
  explicit ThreadPool(unsigned workers);
  ~ThreadPool();

  unsigned workers() const;
  // Returns when every item is done. `work` must not throw, nor launch on the same pool.
  void run(std::int64_t items, const Work& work);

 private:
  class Team;
  unsigned workers_;
  std::unique_ptr<Team> team_;
  std::mutex launching_;
};

}  // namespace kiln
