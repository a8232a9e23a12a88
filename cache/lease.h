// SPDX-License-Identifier: Apache-2.0
// Leases: one compile per key among the processes of a machine.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>

#include "jit/base/key.h"
#include "jit/base/result.h"

namespace kiln {

// Held until destroyed. The kernel drops it when its process dies, however it dies. May outlive its
// LeaseFile. Any thread may destroy it; in a forked child that does nothing.
class Lease {
 public:
  virtual ~Lease() = default;
};

struct LeaseOutcome {
  // Null when the limit passed first: then compile anyway.
  std::unique_ptr<Lease> lease;
  bool waited = false;  // somebody else held it first: look into the store again
};

class LeaseFile {
 public:
  // Opens or creates `folder`/kernels.lock, apart from the database. The folder must exist and is
  // trusted: Store::open has checked it.
  // Errors: cache_failed.
  static Result<std::unique_ptr<LeaseFile>> open(const std::filesystem::path& folder);
  virtual ~LeaseFile() = default;

  // Waits for the key's lease up to `wait_ms_max`; 0 tries once. Any thread. Another process,
  // another LeaseFile of this process and another thread are all excluded. A forked child holds
  // none of its parent's leases.
  // A wait ends within 20 ms of `stop` being requested.
  // Errors: cache_failed, when the file system cannot lock; then compile anyway. cancelled.
  virtual Result<LeaseOutcome> acquire(const Key& key, int wait_ms_max,
                                       const std::stop_token& stop = {}) = 0;
};

}  // namespace kiln
