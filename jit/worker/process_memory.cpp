// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/process_memory.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>

namespace kiln {

std::optional<ProcessMemory> memory_of(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  ProcessMemory memory;
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    if (!(words >> name >> kib)) continue;
    if (name == "VmHWM:") memory.peak_bytes = kib * 1024;
    if (name == "VmRSS:") memory.resident_bytes = kib * 1024;
  }
  if (memory.peak_bytes == 0) return std::nullopt;  // a zombie has no memory to tell of
  return memory;
}

}  // namespace kiln
