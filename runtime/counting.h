// SPDX-License-Identifier: Apache-2.0
// The Counters of a Runtime while it counts.
#pragma once

#include <mutex>

#include "kiln/counters.h"

namespace kiln {

// Thread-safe. A mutex and not atomics: a snapshot is then consistent across counters, and nothing
// counts on the launch path.
class Counting {
 public:
  void add(std::uint64_t Counters::*counter) {
    const std::lock_guard lock(mutex_);
    ++(counts_.*counter);
  }
  Counters snapshot() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  mutable std::mutex mutex_;
  Counters counts_;
};

}  // namespace kiln
