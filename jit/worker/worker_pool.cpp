// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/worker_pool.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>

#include "jit/worker/exchange.h"
#include "jit/worker/protocol.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr int kStartMsMax = 30'000;

// One mutex for all pools, so that one pair of hooks can hand it over to a forked child. It is held
// for the length of a list operation.
std::mutex& lists_mutex() {
  static std::mutex* const mutex = [] {
    auto* made = new std::mutex;  // never destroyed: a process may fork while it ends
    pthread_atfork([] { lists_mutex().lock(); }, [] { lists_mutex().unlock(); },
                   [] { lists_mutex().unlock(); });
    return made;
  }();
  return *mutex;
}

std::string start_request(const CompilerSettings& settings) {
  Record request;
  request.add("ask", name_of(Ask::start));
  request.add("protocol", protocol());
  add_settings(request, settings);
  return request.text();
}

// An idle worker that ended, or says something unasked, is of no use.
bool is_quiet(const WorkerProcess& process) {
  pollfd wanted{process.socket(), POLLIN | POLLRDHUP, 0};
  return poll(&wanted, 1, 0) == 0;
}

}  // namespace

struct WorkerPool::Worker {
  std::unique_ptr<WorkerProcess> process;
  std::uint64_t questions = 0;
};

WorkerPool::WorkerPool(const CompilerSettings& settings)
    : program_(find_worker_program(settings)),
      settings_(start_request(settings)),
      limits_(settings.worker_limits),
      workers_max_(std::max(1, settings.workers_max)),
      owner_(getpid()) {}

WorkerPool::~WorkerPool() = default;

tl::expected<Record, WorkerFailure> WorkerPool::ask(const Record& request,
                                                    const std::stop_token& stop) {
  if (!take_place(stop)) {
    return tl::unexpected(WorkerFailure{WorkerFault::cancelled, "was stopped on request", {}});
  }
  auto reply = ask_worker(request, stop);
  add(reply ? &WorkerCounts::answers : &WorkerCounts::failures);
  return reply;
}

WorkerPool::Outcome<Record> WorkerPool::ask_worker(const Record& request,
                                                   const std::stop_token& stop) {
  const std::string payload = request.text();
  for (bool again = false;; again = true) {
    auto worker = again ? start(stop) : idle_or_new(stop);
    if (!worker) {
      leave_place(nullptr);
      return tl::unexpected(std::move(worker).error());
    }
    const bool used = (*worker)->questions > 0;
    auto reply = exchange(*(*worker)->process, ++(*worker)->questions, payload, limits_, stop);
    if (reply) {
      leave_place(std::move(*worker));
      return reply;
    }
    worker->reset();  // waited for and cleaned up before anybody hears of it
    const WorkerFault fault = reply.error().fault;
    const bool may_be_its_past =
        fault == WorkerFault::died || fault == WorkerFault::killed || fault == WorkerFault::broken;
    if (!used || !may_be_its_past) {
      leave_place(nullptr);
      return reply;
    }
    add(&WorkerCounts::retries);
  }
}

WorkerPool::Outcome<WorkerPool::WorkerPointer> WorkerPool::idle_or_new(
    const std::stop_token& stop) {
  std::vector<WorkerPointer> gone;  // ended without the lock
  {
    const std::lock_guard lock(lists_mutex());
    while (!idle_.empty()) {
      WorkerPointer worker = std::move(idle_.back());
      idle_.pop_back();
      if (is_quiet(*worker->process)) return worker;
      gone.push_back(std::move(worker));
    }
  }
  return start(stop);
}

WorkerPool::Outcome<WorkerPool::WorkerPointer> WorkerPool::start(const std::stop_token& stop) {
  const auto not_started = [](std::string what, std::string output = {}) {
    return tl::unexpected(
        WorkerFailure{WorkerFault::not_started, std::move(what), std::move(output)});
  };
  auto process = WorkerProcess::start(program_);
  if (!process) return not_started(process.error().message);
  WorkerPointer worker(new Worker{std::move(*process), 0});
  WorkerLimits limits = limits_;
  limits.time_ms_max = kStartMsMax;
  const auto reply = exchange(*worker->process, 0, settings_, limits, stop);
  if (!reply && reply.error().fault == WorkerFault::cancelled) {
    return tl::unexpected(reply.error());
  }
  const std::string name = fmt::format("kiln-worker '{}'", program_.string());
  if (!reply) {
    return not_started(name + " " + reply.error().what, reply.error().output);
  }
  if (const auto status = status_of(*reply); !status) {
    return not_started(fmt::format("{}: {}", name, status.error().message));
  }
  add(&WorkerCounts::started);
  return worker;
}

bool WorkerPool::take_place(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] {
    ++turn_;
    turn_.notify_all();
  });
  for (;;) {
    const std::uint32_t turn = turn_.load();
    if (stop.stop_requested()) return false;
    {
      const std::lock_guard lock(lists_mutex());
      if (owner_ != getpid()) forget_parent();
      if (places_taken_ < workers_max_) {
        ++places_taken_;
        return true;
      }
    }
    turn_.wait(turn);
  }
}

void WorkerPool::leave_place(WorkerPointer worker) {
  {
    const std::lock_guard lock(lists_mutex());
    // A fork between taking and leaving a place: the child's other half of it is not this thread's.
    if (owner_ == getpid()) {
      --places_taken_;
      if (worker) idle_.push_back(std::move(worker));
    }
  }
  ++turn_;
  turn_.notify_all();
}

void WorkerPool::forget_parent() {
  owner_ = getpid();
  places_taken_ = 0;
  idle_.clear();  // closes descriptors, ends nobody
  counts_ = {};
}

void WorkerPool::add(std::uint64_t WorkerCounts::*counter) {
  const std::lock_guard lock(lists_mutex());
  ++(counts_.*counter);
}

WorkerCounts WorkerPool::counts() const {
  const std::lock_guard lock(lists_mutex());
  return counts_;
}

fs::path find_worker_program(const CompilerSettings& settings) {
  constexpr const char* kName = "kiln-worker";
  if (settings.worker_program) return *settings.worker_program;
  std::error_code error;
  std::vector<fs::path> folders;
  Dl_info self{};
  static const char anchor = 0;
  if (dladdr(&anchor, &self) != 0 && self.dli_fname) {
    folders.push_back(fs::canonical(self.dli_fname, error).parent_path());
  }
  folders.push_back(fs::read_symlink("/proc/self/exe", error).parent_path());
  for (const fs::path& folder : folders) {
    for (const fs::path& file : {folder / kName, folder.parent_path() / "bin" / kName}) {
      if (fs::is_regular_file(file, error)) return file;
    }
  }
  // Starting it fails then, with this name in the message.
  return folders.back() / kName;
}

}  // namespace kiln
