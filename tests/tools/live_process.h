// SPDX-License-Identifier: Apache-2.0
// A program that runs while a test watches what it writes to stderr, on a pipe or a terminal.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "jit/base/handle.h"
#include "tests/support/process.h"

namespace kiln::test {

enum class Writes { to_pipe, to_terminal };

class LiveProcess {
 public:
  // Its stdout is dropped on a pipe; on a terminal both are one.
  LiveProcess(const std::vector<std::string>& words, const Environment& changes, Writes writes);
  ~LiveProcess();
  LiveProcess(const LiveProcess&) = delete;
  LiveProcess& operator=(const LiveProcess&) = delete;

  // Whether `text` appears before the program ends.
  bool wait_for(const std::string& text);
  void send(int signal) const;
  // As keys that are pressed, on a terminal.
  void type(const std::string& keys) const;
  // Waits for its end: exit code, or 128 + signal.
  int finish();
  const std::string& seen() const { return seen_; }

 private:
  bool read_more();

  pid_t process_ = -1;
  Fd output_;
  std::string seen_;
};

}  // namespace kiln::test
