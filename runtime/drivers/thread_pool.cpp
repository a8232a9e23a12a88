// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace kiln {
namespace {

// Small enough that a core which another program slows down does not hold up the launch.
constexpr std::int64_t kChunksPerWorker = 8;

// How long a thread without work looks out for the next launch before it sleeps: longer than what
// an engine does between two ops, too short to be seen in what an idle process costs.
constexpr std::chrono::microseconds kSpin{100};
constexpr int kSpinsPerLook = 32;

unsigned usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

// Eases the core's other thread, and lets go of the loop at once when the value changes.
void spin_once() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Whether `done` held within kSpin. Waking a thread that sleeps takes as long as a small launch.
template <class Done>
bool spin_until(const Done& done) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (done()) return true;
      spin_once();
    }
  } while (Clock::now() < end);
  return done();
}

}  // namespace

// The threads besides the caller's, and the launch that they share. A thread joins a launch while
// it is open and the caller closes it when no items are left to take, so that it waits for those
// that joined and for none that is still asleep.
class ThreadPool::Team {
 public:
  explicit Team(unsigned workers) : owner_(getpid()) {
    for (unsigned worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { serve(worker); });
    }
  }
  ~Team() {
    stopping_.store(true, std::memory_order_relaxed);
    gate_.fetch_add(kLaunch, std::memory_order_release);
    gate_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Threads do not survive fork().
  bool usable_here() const { return owner_ == getpid(); }

  void run(std::int64_t items, const Work& work) {
    const std::int64_t workers = static_cast<std::int64_t>(threads_.size()) + 1;
    work_ = &work;
    items_ = items;
    chunk_ = std::max<std::int64_t>(1, items / (workers * kChunksPerWorker));
    next_.store(0, std::memory_order_relaxed);
    gate_.fetch_add(kLaunch | kOpen, std::memory_order_release);  // closed by the launch before
    gate_.notify_all();
    take_chunks(0);
    gate_.fetch_and(~kOpen, std::memory_order_relaxed);
    const auto joined = [&] { return gate_.load(std::memory_order_acquire) & kJoined; };
    if (spin_until([&] { return joined() == 0; })) return;
    for (std::uint32_t gate = 0; ((gate = gate_.load(std::memory_order_acquire)) & kJoined) != 0;) {
      gate_.wait(gate, std::memory_order_acquire);
    }
  }

 private:
  // A word of a launch's number, whether threads may still join it, and how many are at work.
  static constexpr std::uint32_t kJoined = 0x7fff;
  static constexpr std::uint32_t kOpen = 0x8000;
  static constexpr std::uint32_t kLaunch = 0x10000;

  void serve(unsigned worker) {
    std::uint32_t seen = 0;  // the number wraps around; who takes a launch for seen lets it pass
    for (;;) {
      const auto new_launch = [&] {
        return gate_.load(std::memory_order_relaxed) / kLaunch != seen;
      };
      if (!spin_until(new_launch)) {
        for (std::uint32_t gate = 0; (gate = gate_.load()) / kLaunch == seen;) gate_.wait(gate);
      }
      if (stopping_.load(std::memory_order_relaxed)) return;
      seen = join(seen, worker);
    }
  }

  // Takes part in the launch that is open, if one is. Returns the number of the last one it saw.
  std::uint32_t join(std::uint32_t seen, unsigned worker) {
    std::uint32_t gate = gate_.load(std::memory_order_relaxed);
    for (;;) {
      seen = gate / kLaunch;
      if ((gate & kOpen) == 0) return seen;
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) break;
    }
    take_chunks(worker);
    const std::uint32_t before = gate_.fetch_sub(1, std::memory_order_release);
    if ((before & kOpen) == 0 && (before & kJoined) == 1) gate_.notify_all();
    return seen;
  }

  void take_chunks(unsigned worker) {
    for (;;) {
      const std::int64_t first = next_.fetch_add(chunk_, std::memory_order_relaxed);
      if (first >= items_) return;
      (*work_)(worker, first, std::min(first + chunk_, items_));
    }
  }

  const pid_t owner_;
  std::atomic<std::uint32_t> gate_{0};
  std::atomic<bool> stopping_{false};
  const Work* work_ = nullptr;
  std::int64_t items_ = 0;
  std::int64_t chunk_ = 1;
  alignas(64) std::atomic<std::int64_t> next_{0};
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
