// SPDX-License-Identifier: Apache-2.0
// What can be chosen about compiling in other processes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "jit/base/digest.h"

namespace kiln {

// Which compilers run in kiln-worker processes.
enum class Isolation {
  off,     // none: a crash of a compiler is a crash of the host
  hiprtc,  // hipRTC alone: it ends its process on archs that it does not know, and is not
           // thread-safe
  all,
};

// What one compile may take.
struct WorkerLimits {
  int time_ms_max = 300'000;
  std::uint64_t memory_bytes_max = std::uint64_t{8} << 30;
};

// Whether a compiler is asked for an arch that it does not list, which may end its process.
enum class UnlistedArchs { refused, tried };

// A compiler ended its process.
struct Crash {
  std::string compiler;  // "hiprtc"
  Digest toolchain;      // exactly that build of it
  std::string subject;   // on what: "arch gfx942", or "request <digest>"
  std::string what;      // "signal 6, Aborted"
  std::string place;     // where it is written down, for messages; empty: in this process only
};

// Remembers crashes beyond the life of a process. Thread-safe. What cannot be written is forgotten.
class CrashMemory {
 public:
  virtual ~CrashMemory() = default;
  virtual std::optional<Crash> recall(const Digest& toolchain, std::string_view subject) = 0;
  virtual void remember(const Crash& crash) = 0;
};

}  // namespace kiln
