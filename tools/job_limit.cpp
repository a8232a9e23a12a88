// SPDX-License-Identifier: Apache-2.0
#include "tools/job_limit.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace kiln::cli {
namespace {

// What a compile is taken for until one was measured.
constexpr std::uint64_t kFirstGuessBytes = std::uint64_t{512} << 20;

// The number of a file that holds one; nothing for "max", or no such file.
std::optional<std::uint64_t> number_in(const std::string& file) {
  std::ifstream stream(file);
  std::uint64_t number = 0;
  if (!(stream >> number)) return std::nullopt;
  return number;
}

// The number after `name` in a file of such lines.
std::optional<std::uint64_t> number_after(const std::string& file, const std::string& name) {
  std::ifstream stream(file);
  for (std::string word; stream >> word;) {
    std::uint64_t number = 0;
    if (word == name && stream >> number) return number;
  }
  return std::nullopt;
}

struct GroupFiles {
  const char* limit;
  const char* used;
  const char* stat;
};
constexpr GroupFiles kGroups[] = {
    {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"},
    {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
     "/sys/fs/cgroup/memory/memory.stat"},
};

}  // namespace

std::uint64_t free_memory_bytes() {
  std::uint64_t free = UINT64_MAX;
  if (const auto kib = number_after("/proc/meminfo", "MemAvailable:")) free = *kib * 1024;
  for (const GroupFiles& group : kGroups) {
    const auto limit = number_in(group.limit);
    const auto used = number_in(group.used);
    if (!limit || !used) continue;
    // Cached files count as used and go when memory is needed.
    const std::uint64_t cached = number_after(group.stat, "inactive_file").value_or(0);
    const std::uint64_t taken = *used - std::min(*used, cached);
    free = std::min(free, *limit - std::min(*limit, taken));
  }
  return free;
}

// Those who run may only have begun to take what they will.
bool JobLimit::may_enter() const {
  if (running_ == 0) return true;
  if (running_ >= jobs_max_) return false;
  const std::uint64_t each = seen_.memory_bytes_max ? seen_.memory_bytes_max : kFirstGuessBytes;
  return free_bytes_() / each > static_cast<std::uint64_t>(running_);
}

void JobLimit::enter() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return may_enter(); });
  ++running_;
  seen_.most_at_once = std::max(seen_.most_at_once, running_);
}

void JobLimit::leave(std::uint64_t memory_bytes) {
  {
    const std::lock_guard lock(mutex_);
    --running_;
    seen_.memory_bytes_max = std::max(seen_.memory_bytes_max, memory_bytes);
  }
  changed_.notify_all();
}

JobLimit::Seen JobLimit::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

}  // namespace kiln::cli
