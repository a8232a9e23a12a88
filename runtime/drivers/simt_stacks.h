// SPDX-License-Identifier: Apache-2.0
// SimtStacks: the aligned region of one worker that holds the stacks and records of its threads,
// laid out as kiln/simt_abi.h says.
#pragma once

#include <cstddef>

#include "jit/base/result.h"
#include "templates/device/kiln/simt_abi.h"

namespace kiln {

inline constexpr unsigned kSimtThreadsMax = 1024;

class SimtStacks {
 public:
  // Reserves addresses, no memory. Errors: out_of_memory.
  static Result<SimtStacks> reserve();
  SimtStacks(SimtStacks&& other) noexcept;
  SimtStacks& operator=(SimtStacks&&) = delete;
  ~SimtStacks();

  // Makes the first `count` usable, each with a page below it that nobody may touch.
  // Errors: out_of_memory.
  Result<void> ensure(unsigned count);

  void* record(unsigned index) const {
    return region_ + (kRecordSlots + index) * kKilnSimtThreadBytes;
  }
  // The record of the thread on whose stack `address` lies.
  static void* record_at(const void* address);
  std::byte* lowest(unsigned index) const;
  static std::size_t usable_bytes();
  // How far below the top a stack begins: so that the hot frames of many threads do not all fall
  // into the same sets of the cache.
  static std::size_t skipped_bytes(unsigned index);

 private:
  // The records lie at the start of the region, where these stacks would be.
  static constexpr unsigned kRecordSlots = 4;

  explicit SimtStacks(std::byte* region) : region_(region) {}
  std::byte* region_;
  unsigned usable_ = 0;
};

}  // namespace kiln
