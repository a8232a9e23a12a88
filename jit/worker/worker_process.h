// SPDX-License-Identifier: Apache-2.0
// WorkerProcess: a running kiln-worker and the socket to it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "jit/base/handle.h"
#include "jit/base/result.h"

namespace kiln {

// How a process ended.
struct ProcessEnd {
  enum class Kind {
    exited,      // by itself, with a status
    crashed,     // by a signal that a program brings on itself: SIGSEGV, SIGABRT, ...
    killed,      // by a signal from elsewhere: SIGKILL (the kernel's out-of-memory killer too), ...
    ended_here,  // by end(), since it went on for too long
    unknown,     // somebody else took the status: the host waits for all children, or ignores them
  };
  Kind kind = Kind::unknown;
  std::string what;  // "signal 6, Aborted"
};

// Owns the process: killed, waited for and its temporary folder removed on destruction. A forked
// child of the owner only closes its descriptors. Not thread-safe.
class WorkerProcess {
 public:
  // Spawns `program` with a socket, in a process group of its own (an interrupt of the terminal is
  // the host's to handle), with none of the host's other descriptors, with default signal handling,
  // and with a private folder as TMPDIR, since hipRTC leaves files behind when it crashes.
  // Errors: unavailable, naming the program and the system's reason.
  static Result<std::unique_ptr<WorkerProcess>> start(const std::filesystem::path& program);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int socket() const { return socket_.get(); }
  pid_t id() const { return id_; }

  // Waits for it to end up to `wait_ms_max`, then kills it. Says how it ended, again when asked
  // again.
  const ProcessEnd& end(int wait_ms_max);
  // The last of what it printed.
  std::string output() const;

 private:
  WorkerProcess() = default;

  pid_t id_ = -1;
  pid_t owner_ = -1;
  Fd process_;  // a pidfd: its number alone might be another process's by now
  Fd socket_;
  std::filesystem::path folder_;
  bool ended_ = false;
  ProcessEnd how_;
};

}  // namespace kiln
