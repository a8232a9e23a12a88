// SPDX-License-Identifier: Apache-2.0
// Threads that work through a queue, started by the first job.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace kiln {

// Thread-safe. After fork() the child has none of the parent's jobs and starts threads of its own.
class Background {
 public:
  struct Job {
    std::function<void()> run;     // on one of the threads; must not throw
    std::function<void()> cancel;  // instead of run(), when the Background ends before its turn
  };

  explicit Background(int threads_max) : threads_max_(threads_max) {}
  // Waits for the jobs that run and cancels those that wait.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void post(Job job);

 private:
  struct Crew {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Job> waiting;
    int idle = 0;
    bool ends = false;
    std::vector<std::thread> threads;
  };
  static void work(Crew& crew);
  static void run_here(Crew& crew, std::unique_lock<std::mutex>& lock);
  static void end(Crew& crew);
  Crew& crew();

  const int threads_max_;
  std::mutex mutex_;  // guards the two below
  std::unique_ptr<Crew> crew_;
  int generation_ = -1;  // of the process that the threads belong to
};

}  // namespace kiln
