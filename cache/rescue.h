// SPDX-License-Identifier: Apache-2.0
// Rescue: a damaged store file becomes a whole one that holds every entry that can still be read.
//
// The file is rewritten in place, in one SQLite transaction: processes that have it open go on, a
// kill in the middle changes nothing, and nobody's name for the file or its log ever stands for
// another file. (Renaming a database while somebody has it open loses data: SQLite finds the log by
// its name.)
#pragma once

#include <cstdint>
#include <filesystem>

#include "jit/base/handle.h"
#include "jit/base/result.h"

namespace kiln {

struct RescueReport {
  std::int64_t kept = 0;
  std::int64_t lost = 0;  // entries that were found and could not be read whole
};

// Held by the one process of a machine that rescues the stores of a folder; the kernel drops it
// with its holder.
class RescueLock {
 public:
  // Waits up to `wait_ms_max`. Errors: cache_failed.
  static Result<RescueLock> acquire(const std::filesystem::path& folder, int wait_ms_max);

 private:
  explicit RescueLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Under the RescueLock, with no connection of the caller's open. Needs space beside the file for
// what it keeps. Entries put by others meanwhile are kept as well.
// Errors: cache_failed: a file that bears no sign of being a store of this schema, which is left as
// it is; busy; disk full.
Result<RescueReport> rescue_store_file(const std::filesystem::path& file, int busy_timeout_ms);

}  // namespace kiln
