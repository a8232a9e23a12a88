// SPDX-License-Identifier: Apache-2.0
#include "jit/base/log.h"

#include <fmt/format.h>
#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <set>
#include <string>

namespace kiln {
namespace {

struct LogState {
  std::mutex mutex;
  LogSink sink;
  std::set<std::string, std::less<>> said;
  std::atomic<LogLevel> least{LogLevel::warning};
};

LogState& state();

LogState* make_state() {
  // A child forked while another thread logs would find the lock taken for ever.
  pthread_atfork([] { state().mutex.lock(); }, [] { state().mutex.unlock(); },
                 [] { state().mutex.unlock(); });
  return new LogState;
}

LogState& state() {
  static LogState* const instance = make_state();  // never destroyed: threads may log at exit
  return *instance;
}

// Made at load time: a fork while another thread makes it would leave the child a half-made one.
[[maybe_unused]] const LogState& made_at_load = state();

void write_to_stderr(LogLevel level, std::string_view message) {
  static constexpr const char* kNames[] = {"debug", "info", "warning"};
  fmt::print(stderr, "kiln {}: {}\n", kNames[static_cast<int>(level)], message);
}

}  // namespace

void set_log_sink(LogSink sink) {
  const std::lock_guard lock(state().mutex);
  state().sink = std::move(sink);
}

void set_log_level(LogLevel least) {
  state().least = least;
}

void log(LogLevel level, std::string_view message) {
  if (level == LogLevel::off || level < state().least.load()) return;
  LogSink sink;
  {
    const std::lock_guard lock(state().mutex);
    sink = state().sink;
  }
  sink ? sink(level, message) : write_to_stderr(level, message);
}

void log_once(LogLevel level, std::string_view message) {
  if (level < state().least.load()) return;
  {
    const std::lock_guard lock(state().mutex);
    if (!state().said.emplace(message).second) return;
  }
  log(level, message);
}

}  // namespace kiln
