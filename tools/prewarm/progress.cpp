// SPDX-License-Identifier: Apache-2.0
#include "tools/prewarm/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kiln::cli {

std::string duration_text(double seconds) {
  if (seconds < 90) return fmt::format("{} s", std::lround(seconds));
  const long minutes = std::lround(seconds / 60);
  if (minutes < 90) return fmt::format("{} min", minutes);
  return fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

void PrewarmProgress::begin(const std::string& label) {
  const std::lock_guard lock(mutex_);
  running_.push_back(label);
  if (printer_.is_terminal()) show();
}

void PrewarmProgress::end(const std::string& label, const std::string& outcome) {
  const std::lock_guard lock(mutex_);
  ++done_;
  running_.erase(std::find(running_.begin(), running_.end(), label));
  if (printer_.is_terminal()) return show();
  printer_.line(fmt::format("[{}/{}] {} {}", done_, total_, outcome, label));
}

void PrewarmProgress::tick() {
  const std::lock_guard lock(mutex_);
  if (printer_.is_terminal() && !running_.empty()) show();
}

void PrewarmProgress::stopping() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  printer_.line(
      fmt::format("stopping: {} of {} kernels are done and stay; the {} at work are waited for "
                  "(again: leave them at once)",
                  done_, total_, running_.size()));
}

double PrewarmProgress::seconds_left() const {
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  return passed.count() / static_cast<double>(done_) * static_cast<double>(total_ - done_);
}

void PrewarmProgress::show() {
  std::string text = fmt::format("[{}/{}]", done_, total_);
  if (stopping_) {
    text += " stopping:";
  } else if (done_ > 0 && done_ < total_) {
    text += fmt::format(" about {} left:", duration_text(seconds_left()));
  }
  printer_.update(running_.empty() ? text : text + ' ' + running_.front());
}

}  // namespace kiln::cli
