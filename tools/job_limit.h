// SPDX-License-Identifier: Apache-2.0
// JobLimit: how many compiles may run at a time: as many as asked for, and as the memory holds.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace kiln::cli {

// What this process could still take without anybody running out: of the machine, and of the
// control group that it is in.
std::uint64_t free_memory_bytes();

// Thread-safe.
class JobLimit {
 public:
  JobLimit(int jobs_max, std::function<std::uint64_t()> free_bytes)
      : jobs_max_(jobs_max), free_bytes_(std::move(free_bytes)) {}

  int jobs_max() const { return jobs_max_; }

  // Waits for its turn. One may always run.
  void enter();
  // The compile that entered is done and took `memory_bytes` at most; 0: it did not compile, or
  // nobody knows.
  void leave(std::uint64_t memory_bytes);

  struct Seen {
    int most_at_once = 0;
    std::uint64_t memory_bytes_max = 0;  // of one compile; 0: nothing was measured
  };
  Seen seen() const;

 private:
  bool may_enter() const;

  const int jobs_max_;
  const std::function<std::uint64_t()> free_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
  Seen seen_;
};

}  // namespace kiln::cli
