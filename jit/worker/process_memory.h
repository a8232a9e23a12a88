// SPDX-License-Identifier: Apache-2.0
// How much memory a process takes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace kiln {

struct ProcessMemory {
  std::uint64_t resident_bytes = 0;
  // The most that it ever was. Not getrusage()'s: that counts what the process was spawned from.
  std::uint64_t peak_bytes = 0;
};

// Nothing when there is no such process, or no /proc.
std::optional<ProcessMemory> memory_of(pid_t process);

}  // namespace kiln
