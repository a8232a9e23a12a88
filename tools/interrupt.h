// SPDX-License-Identifier: Apache-2.0
// Interrupt: Ctrl-C as a request to stop, instead of the end of the process.
#pragma once

#include <csignal>
#include <functional>
#include <stop_token>
#include <thread>

#include "jit/base/handle.h"

namespace kiln::cli {

// While one lives, the first SIGINT or SIGTERM requests the stop and calls `on_stop`; a second one
// ends the process as ever. Made before the process starts threads that must not be hit. A signal
// that the process was started to ignore stays ignored.
class Interrupt {
 public:
  struct Calls {
    std::function<void()> on_stop;
    std::function<void()> on_tick;  // four times a second; both on a thread of its own
  };
  explicit Interrupt(Calls calls);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  bool requested() const { return stop_.stop_requested(); }

 private:
  void watch();
  void take_signal();

  const Calls calls_;
  std::stop_source stop_;
  sigset_t signals_{};
  sigset_t mask_before_{};
  Fd signal_;  // readable: a signal is there
  Fd end_;     // readable: the watcher is to end
  std::thread watcher_;
};

}  // namespace kiln::cli
