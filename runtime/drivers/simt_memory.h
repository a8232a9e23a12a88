// SPDX-License-Identifier: Apache-2.0
// SimtMemory: which ranges of this process's memory kernels may reach.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

// Sorted, none inside another; as they were when a launch began.
class SimtRanges {
 public:
  // The range that holds `address`, else null. Lives as long as this object.
  const KilnSimtRange* find(unsigned long long address) const;
  // "the tensor at 0x7f.. of 4096 bytes begins 8 bytes above": for whoever missed it.
  std::string nearest(unsigned long long address) const;

 private:
  friend class SimtMemory;
  std::vector<KilnSimtRange> sorted_;
};

// Thread-safe.
class SimtMemory {
 public:
  void add(const void* data, std::size_t bytes);
  void remove(const void* data);
  std::shared_ptr<const SimtRanges> snapshot() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const SimtRanges> ranges_ = std::make_shared<SimtRanges>();
};

}  // namespace kiln
