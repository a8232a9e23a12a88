// SPDX-License-Identifier: Apache-2.0
// How far prewarm is: how many kernels of how many, which one is at work, how long it may take.
#pragma once

#include <chrono>
#include <list>
#include <mutex>
#include <string>

#include "tools/line_printer.h"

namespace kiln::cli {

// "40 s", "3 min", "1 h 20 min"
std::string duration_text(double seconds);

// On a terminal one line that updates; elsewhere a line for each kernel that is done. Thread-safe.
class PrewarmProgress {
 public:
  PrewarmProgress(Progress progress, std::size_t total)
      : total_(total), printer_(progress), start_(std::chrono::steady_clock::now()) {}

  void begin(const std::string& label);
  void end(const std::string& label, const std::string& outcome);
  // Shows the time that is left anew.
  void tick();
  // Ctrl-C was pressed.
  void stopping();

 private:
  void show();  // with mutex_ held
  double seconds_left() const;

  const std::size_t total_;
  LinePrinter printer_;
  const std::chrono::steady_clock::time_point start_;
  std::mutex mutex_;
  std::size_t done_ = 0;
  bool stopping_ = false;
  std::list<std::string> running_;
};

}  // namespace kiln::cli
