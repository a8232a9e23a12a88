// SPDX-License-Identifier: Apache-2.0
// LinePrinter: progress as one line that updates on a terminal, as plain lines elsewhere.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

namespace kiln::cli {

enum class Progress { shown, silent };

// Writes to stderr, so that stdout stays for results. Thread-safe.
class LinePrinter {
 public:
  explicit LinePrinter(Progress progress);
  ~LinePrinter();  // leaves the cursor at the start of a line

  // Whether updates overwrite each other.
  bool is_terminal() const { return terminal_; }
  // The current state; the next update overwrites it on a terminal.
  void update(std::string_view text);
  // A line that stays.
  void line(std::string_view text);

 private:
  void clear();

  const bool silent_;
  const bool terminal_;
  std::mutex mutex_;
  bool dirty_ = false;
};

}  // namespace kiln::cli
