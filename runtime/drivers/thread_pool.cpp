// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace kiln {
namespace {

// Small enough that a core which another program slows down does not hold up the launch.
constexpr std::int64_t kChunksPerWorker = 8;

unsigned usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

}  // namespace

// The threads besides the caller's, and the launch that they share.
class ThreadPool::Team {
 public:
  explicit Team(unsigned workers) : owner_(getpid()) {
    for (unsigned worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { serve(worker); });
    }
  }
  ~Team() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    started_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Threads do not survive fork().
  bool usable_here() const { return owner_ == getpid(); }

  void run(std::int64_t items, const Work& work) {
    const std::int64_t workers = static_cast<std::int64_t>(threads_.size()) + 1;
    {
      const std::lock_guard lock(mutex_);
      work_ = &work;
      items_ = items;
      chunk_ = std::max<std::int64_t>(1, items / (workers * kChunksPerWorker));
      next_.store(0, std::memory_order_relaxed);
      busy_ = static_cast<unsigned>(threads_.size());
      ++launch_;
    }
    started_.notify_all();
    take_chunks(0);
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve(unsigned worker) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      started_.wait(lock, [&] { return stopping_ || launch_ != seen; });
      if (stopping_) return;
      seen = launch_;
      lock.unlock();
      take_chunks(worker);
      lock.lock();
      if (--busy_ == 0) finished_.notify_one();
    }
  }

  void take_chunks(unsigned worker) {
    for (;;) {
      const std::int64_t first = next_.fetch_add(chunk_, std::memory_order_relaxed);
      if (first >= items_) return;
      (*work_)(worker, first, std::min(first + chunk_, items_));
    }
  }

  const pid_t owner_;
  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable finished_;
  const Work* work_ = nullptr;
  std::int64_t items_ = 0;
  std::int64_t chunk_ = 1;
  std::atomic<std::int64_t> next_{0};
  unsigned busy_ = 0;
  std::uint64_t launch_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

ThreadPool::ThreadPool() : ThreadPool(usable_cores()) {}

ThreadPool::ThreadPool(unsigned workers) : workers_(std::max(1U, workers)) {}

ThreadPool::~ThreadPool() {
  if (team_ && !team_->usable_here()) (void)team_.release();
}

unsigned ThreadPool::workers() const {
  return workers_;
}

void ThreadPool::run(std::int64_t items, const Work& work) {
  if (items <= 0) return;
  // Also where one thread does it all: what a worker owns by its number is used by one launch only.
  const std::lock_guard lock(launching_);
  if (workers_ == 1 || items == 1) {
    work(0, 0, items);
    return;
  }
  if (team_ && !team_->usable_here()) (void)team_.release();  // its threads are the parent's
  if (!team_) team_ = std::make_unique<Team>(workers_);
  team_->run(items, work);
}

}  // namespace kiln
