// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/live_process.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace kiln::test {
namespace {

[[noreturn]] void become(const std::vector<std::string>& words, const Environment& changes) {
  for (const auto& [name, value] : changes) {
    if (value.empty()) {
      unsetenv(name.c_str());
    } else {
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

LiveProcess::LiveProcess(const std::vector<std::string>& words, const Environment& changes,
                         Writes writes) {
  if (writes == Writes::to_terminal) {
    int terminal = -1;
    const winsize size{24, 80, 0, 0};
    process_ = forkpty(&terminal, nullptr, nullptr, &size);
    if (process_ == 0) become(words, changes);
    output_ = Fd(terminal);
    return;
  }
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  process_ = fork();
  if (process_ == 0) {
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    become(words, changes);
  }
  close(ends[1]);
  output_ = Fd(ends[0]);
}

LiveProcess::~LiveProcess() {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  finish();
}

// A terminal whose other side is gone reads as an error.
bool LiveProcess::read_more() {
  char buffer[4096];
  const ssize_t got = read(output_.get(), buffer, sizeof buffer);
  if (got <= 0) return false;
  seen_.append(buffer, static_cast<std::size_t>(got));
  return true;
}

bool LiveProcess::wait_for(const std::string& text) {
  while (seen_.find(text) == std::string::npos) {
    if (!read_more()) return false;
  }
  return true;
}

void LiveProcess::send(int signal) const {
  kill(process_, signal);
}

void LiveProcess::type(const std::string& keys) const {
  if (write(output_.get(), keys.data(), keys.size()) != static_cast<ssize_t>(keys.size()))
    std::abort();
}

int LiveProcess::finish() {
  while (read_more()) {
  }
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace kiln::test
