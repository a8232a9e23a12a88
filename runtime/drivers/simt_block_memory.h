// SPDX-License-Identifier: Apache-2.0
// SimtBlockMemory: the shared memory of one block, its asynchronous copies, and the checks of
// accesses to it and to global memory.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "runtime/drivers/simt_memory.h"
#include "runtime/drivers/simt_shared_check.h"
#include "runtime/drivers/simt_thread.h"

namespace kiln {

// What a block may have of it, static and dynamic: sm_90's 227 KiB with warps of 32, gfx942's
// 64 KiB with warps of 64.
std::size_t simt_shared_bytes_max(unsigned warp_size);

class SimtBlockMemory {
 public:
  explicit SimtBlockMemory(SimtBlock& block) : block_(block) {}
  // Nothing is written yet: all bytes are 0xff, a NaN in each type.
  // Errors: out_of_memory.
  Result<void> start_block();

  // The block's array for the declaration `key`, made by the first thread that comes to it.
  void* static_array(SimtThread& thread, const void* key, const char* name, std::size_t bytes);
  void* dynamic_array(SimtThread& thread, const char* name, long long offset, std::size_t bytes);

  void start_copy(SimtThread& thread, void* to, const void* from, int bytes);
  // All but the thread's `pending` latest groups arrive; with 0, those of no group as well.
  void finish_copies(SimtThread& thread, unsigned pending);

  // Whether the access may be made; what is wrong with it is reported.
  bool shared_access(SimtThread& thread, const KilnSimtAccess& access,
                     SimtSharedCheck::Flight flight);
  bool global_access(SimtThread& thread, const KilnSimtAccess& access, const KilnSimtRange* range);

 private:
  struct StaticArray {
    const void* key;
    std::byte* data;
  };
  struct FreeArena {
    void operator()(void* arena) const { std::free(arena); }
  };

  std::size_t offset_of(const void* address) const {
    return static_cast<std::size_t>(static_cast<const std::byte*>(address) - arena_.get());
  }
  std::string describe(const SimtThread& thread, const KilnSimtAccess& access) const;
  void report_fault(SimtThread& thread, const KilnSimtAccess& access, const SharedFault& fault);
  bool misaligned(SimtThread& thread, const KilnSimtAccess& access);

  SimtBlock& block_;
  std::unique_ptr<std::byte, FreeArena> arena_;
  std::vector<StaticArray> arrays_;
  std::size_t used_ = 0;
  SimtSharedCheck check_;
};

}  // namespace kiln
