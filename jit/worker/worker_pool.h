// SPDX-License-Identifier: Apache-2.0
// WorkerPool: kiln-worker processes, started as they are needed, used again and again.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "jit/compilers.h"
#include "jit/worker/frame.h"
#include "jit/worker/worker_process.h"

namespace kiln {

// Why a question has no answer. What one can do differs: after `not_started` and `broken` the
// compiler itself has said nothing; after the others it is the compiler's, or nobody's, fault.
enum class WorkerFault {
  not_started,    // no such file, not executable, no memory, not of this build
  broken,         // its answer was cut short, damaged, or to another question
  died,           // the compiler ended the process: a signal of its own, or exit()
  killed,         // somebody else ended it
  timed_out,      // over WorkerLimits::time_ms_max; killed
  out_of_memory,  // over WorkerLimits::memory_bytes_max; killed
  cancelled,      // `stop` was requested; killed
};

struct WorkerFailure {
  WorkerFault fault = WorkerFault::broken;
  std::string what;    // completes "the worker ...": "ended by signal 6, Aborted"
  std::string output;  // the last of what it printed
};

// What the pool did so far: for tests, which compare it whole.
struct WorkerCounts {
  std::uint64_t started = 0;
  std::uint64_t answers = 0;
  std::uint64_t failures = 0;  // questions that ended in a WorkerFailure
  std::uint64_t retries = 0;   // asked again since a used worker failed
  friend bool operator==(const WorkerCounts&, const WorkerCounts&) = default;
};

// Thread-safe. Starts nothing before the first question. A forked child starts workers of its own.
class WorkerPool {
 public:
  // At most `settings.workers_max` questions at a time, others wait.
  explicit WorkerPool(const CompilerSettings& settings);
  ~WorkerPool();

  // Sends `request` (see protocol.h) and waits for the reply, within the limits. A worker that
  // fails here is gone; if it had been used before, which may be why, a new one is asked once more.
  tl::expected<Record, WorkerFailure> ask(const Record& request, const std::stop_token& stop = {});

  WorkerCounts counts() const;

 private:
  struct Worker;
  using WorkerPointer = std::unique_ptr<Worker>;
  template <class T>
  using Outcome = tl::expected<T, WorkerFailure>;

  Outcome<Record> ask_worker(const Record& request, const std::stop_token& stop);
  Outcome<WorkerPointer> idle_or_new(const std::stop_token& stop);
  Outcome<WorkerPointer> start(const std::stop_token& stop);
  // Waits for one of the `workers_max_` places. False when `stop` was requested meanwhile.
  bool take_place(const std::stop_token& stop);
  void leave_place(WorkerPointer worker);
  void add(std::uint64_t WorkerCounts::*counter);
  // With the lock held: a forked child has the lists of its parent, and none of its workers.
  void forget_parent();

  const std::filesystem::path program_;
  const std::string settings_;  // the first request of each worker
  const WorkerLimits limits_;
  const int workers_max_;

  // Waiting is not by a condition variable: destroying one in a forked child would wait for threads
  // that exist only in the parent.
  std::atomic<std::uint32_t> turn_{0};
  int places_taken_ = 0;  // these are guarded by the mutex of all pools
  pid_t owner_;
  std::vector<WorkerPointer> idle_;
  WorkerCounts counts_;
};

// KILN_WORKER if given, else where an installation or a build tree has it: beside the library or
// program that this code is in, or in the bin beside its folder.
std::filesystem::path find_worker_program(const CompilerSettings& settings);

}  // namespace kiln
