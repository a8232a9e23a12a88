// SPDX-License-Identifier: Apache-2.0
// SimtBlock: the threads of one block at a time, as fibers of the OS thread that calls run(): who
// runs next, barriers, and the end of blocks that cannot go on. What lanes of a warp do together
// is in simt_warp.h, memory in simt_block_memory.h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "jit/base/launch.h"
#include "runtime/drivers/simt_block_memory.h"
#include "runtime/drivers/simt_fiber.h"
#include "runtime/drivers/simt_stacks.h"
#include "runtime/drivers/simt_thread.h"
#include "runtime/drivers/simt_warp.h"

namespace kiln {

// What all blocks of a launch share.
struct SimtLaunch {
  KilnSimtEntry entry;
  const void* params;
  LaunchDims dims;
  std::uint64_t seed;
  unsigned warp_size;
  bool checked;
  SimtFindings* findings;
  const SimtRanges* ranges;
};

class SimtBlock {
 public:
  // Errors: out_of_memory.
  static Result<std::unique_ptr<SimtBlock>> create();
  ~SimtBlock();
  SimtBlock(const SimtBlock&) = delete;
  SimtBlock& operator=(const SimtBlock&) = delete;

  // Runs block number `index` of the grid (x fastest) to its end. Errors: out_of_memory; what is
  // wrong with the kernel goes to launch.findings.
  Result<void> run(const SimtLaunch& launch, std::uint64_t index);

  // What follows is called on fibers, by what their kernel asks for.
  void block_barrier(SimtThread& thread);
  void named_barrier(SimtThread& thread, int id, int threads);
  // Others run until somebody wakes `thread`.
  void wait(SimtThread& thread, SimtOperation operation);
  void wake(SimtThread& thread);
  // After `thread` woke others: by number it goes on, by seed anybody may.
  void after_waking(SimtThread& thread);
  SimtOperation waits_in(const SimtThread& thread) const { return waits_in_[thread.rank()]; }
  // Ends the block here and now, on the fiber of `thread`.
  [[noreturn]] void abandon(SimtThread& thread);

  const SimtLaunch& launch() const { return *launch_; }
  std::uint64_t index() const { return index_; }
  SimtThread& thread(unsigned rank) { return *static_cast<SimtThread*>(stacks_.record(rank)); }
  unsigned threads() const { return threads_; }
  SimtWarps& warps() { return warps_; }
  SimtBlockMemory& memory() { return memory_; }
  SimtOrder& order() { return order_; }

  void report(FindingKind kind, KilnSimtSite site, KilnSimtSite other,
              const std::function<std::string()>& describe);
  // "block (0,0,0)"
  std::string where() const;
  // "thread 5" of a block of one dimension, else "thread (5,0,1)".
  std::string name_of_thread(unsigned rank) const;
  // "threads 0 to 15: in shuffle (a.cu:7); thread 16: ended"
  std::string waiting_threads();

 private:
  explicit SimtBlock(SimtStacks stacks);
  static void body() noexcept;
  void exit(SimtThread& thread);
  void start_threads();
  void place(SimtThread& thread, unsigned rank);
  // The next of the ready threads goes on; where there is none, run().
  void leave(Fiber& from);
  unsigned take_ready();
  void prefetch_next() const;
  void make_ready(unsigned rank) { ready_[ready_count_++] = static_cast<std::uint16_t>(rank); }
  void compare_barriers(const SimtThread& thread);
  void release_block_barrier();
  // The warps of those who met in a named barrier.
  std::vector<unsigned> warps_of(int barrier, const std::vector<SimtThread*>& met);
  // Nobody can run, and some have not ended. True when some can now.
  bool unblock();
  void report_stuck();
  void drop_threads();

  struct NamedBarrier {
    int wanted = 0;
    std::vector<SimtThread*> waiting;
  };

  SimtStacks stacks_;
  unsigned made_ = 0;  // records and fibers so far
  Fiber main_;
  // What a barrier touches of each thread lies side by side, by rank.
  std::array<Fiber, kSimtThreadsMax> fibers_;
  std::array<SimtOperation, kSimtThreadsMax> waits_in_{};
  std::array<std::uint16_t, kSimtThreadsMax> ready_{};  // the last runs next
  unsigned ready_count_ = 0;
  const SimtLaunch* launch_ = nullptr;
  std::uint64_t index_ = 0;
  std::uint64_t random_ = 0;
  unsigned threads_ = 0;
  unsigned live_ = 0;
  unsigned at_barrier_ = 0;
  KilnSimtSite barrier_site_{};
  bool abandoned_ = false;
  std::array<NamedBarrier, 16> named_;
  SimtWarps warps_;
  SimtBlockMemory memory_;
  SimtOrder order_;
};

}  // namespace kiln
