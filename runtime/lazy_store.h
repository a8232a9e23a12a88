// SPDX-License-Identifier: Apache-2.0
// The writable store and its leases, opened by the first look-up that needs them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "cache/lease.h"
#include "cache/store.h"
#include "kiln/options.h"

namespace kiln {

// Thread-safe.
class LazyStore {
 public:
  explicit LazyStore(const Options& options) : options_(options) {}

  // Errors: unavailable when policy or a missing home say that there is none; else why it could not
  // be opened. The first answer stays.
  Result<Store*> store();
  // The store if it has been opened, and null otherwise; opens nothing.
  Store* opened() const { return is_opened_ ? store_.get() : nullptr; }
  // Null when this store has no leases: read-only, or a file system that cannot lock.
  LeaseFile* leases();

 private:
  void open();

  const Options& options_;
  std::once_flag opened_;
  std::atomic<bool> is_opened_ = false;
  std::unique_ptr<Store> store_;
  std::unique_ptr<LeaseFile> leases_;
  Error error_;
};

}  // namespace kiln
