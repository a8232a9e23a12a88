// SPDX-License-Identifier: Apache-2.0
#include "runtime/background.h"

#include <system_error>

#include "runtime/drivers/gpu_open_gate.h"

namespace kiln {

Background::~Background() {
  if (!crew_) return;
  if (generation_ == fork_generation()) {
    end(*crew_);
  } else {
    // A forked child has none of these threads, so it can neither join nor destroy them.
    (void)crew_.release();
  }
}

Background::Crew& Background::crew() {
  const std::lock_guard lock(mutex_);
  if (generation_ != fork_generation()) {
    (void)crew_.release();
    crew_ = std::make_unique<Crew>();
    generation_ = fork_generation();
  }
  return *crew_;
}

void Background::post(Job job) {
  Crew& all = crew();
  std::unique_lock lock(all.mutex);
  all.waiting.push_back(std::move(job));
  if (static_cast<int>(all.waiting.size()) > all.idle &&
      static_cast<int>(all.threads.size()) < threads_max_) {
    try {
      all.threads.emplace_back([&all] { work(all); });
    } catch (const std::system_error&) {
      if (all.threads.empty()) return run_here(all, lock);
    }
  }
  all.changed.notify_one();
}

// Where the system gives no thread, the caller does the work.
void Background::run_here(Crew& crew, std::unique_lock<std::mutex>& lock) {
  const Job job = std::move(crew.waiting.back());
  crew.waiting.pop_back();
  lock.unlock();
  job.run();
}

void Background::work(Crew& crew) {
  std::unique_lock lock(crew.mutex);
  while (true) {
    ++crew.idle;
    crew.changed.wait(lock, [&] { return crew.ends || !crew.waiting.empty(); });
    --crew.idle;
    if (crew.ends) return;
    {
      const Job job = std::move(crew.waiting.front());
      crew.waiting.pop_front();
      lock.unlock();
      job.run();
    }
    lock.lock();
  }
}

void Background::end(Crew& crew) {
  std::deque<Job> cancelled;
  {
    const std::lock_guard lock(crew.mutex);
    crew.ends = true;
    cancelled.swap(crew.waiting);
  }
  crew.changed.notify_all();
  for (const Job& job : cancelled) job.cancel();
  for (std::thread& thread : crew.threads) thread.join();
}

}  // namespace kiln
