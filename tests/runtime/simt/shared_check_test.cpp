// SPDX-License-Identifier: Apache-2.0
// What SimtSharedCheck says of an access, against a plain model that keeps every access of every
// thread and a vector clock over all threads: the same, for programs of any kind.
#include "runtime/drivers/simt_shared_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace kiln {
namespace {

class Model {
 public:
  explicit Model(unsigned threads) : clocks_(threads, std::vector<unsigned>(threads, 0)) {}

  // Whether the access races with an earlier one.
  bool access(unsigned thread, std::size_t cell, KilnSimtAccessKind kind) {
    bool race = false;
    for (const Access& earlier : accesses_) {
      if (earlier.cell != cell || earlier.thread == thread) continue;
      const bool both_read = kind == kKilnSimtRead && earlier.kind == kKilnSimtRead;
      const bool both_atomic = kind == kKilnSimtAtomic && earlier.kind == kKilnSimtAtomic;
      if (both_read || both_atomic) continue;
      race = race || clocks_[thread][earlier.thread] < earlier.time;
    }
    accesses_.push_back({thread, cell, kind, ++clocks_[thread][thread]});
    return race;
  }
  void meet(const std::vector<unsigned>& threads) {
    std::vector<unsigned> joint(clocks_.size(), 0);
    for (const unsigned thread : threads) {
      for (std::size_t i = 0; i < joint.size(); ++i) {
        joint[i] = std::max(joint[i], clocks_[thread][i]);
      }
    }
    for (const unsigned thread : threads) clocks_[thread] = joint;
  }

 private:
  struct Access {
    unsigned thread;
    std::size_t cell;
    KilnSimtAccessKind kind;
    unsigned time;
  };
  std::vector<std::vector<unsigned>> clocks_;  // [of][about]
  std::vector<Access> accesses_;
};

class Program {
 public:
  Program(unsigned seed, unsigned warp_size)
      : random_(seed), warp_size_(warp_size), threads_(kWarps * warp_size), model_(threads_) {
    order_.start_block(threads_, warp_size);
    check_.start_block();
    for (std::size_t cell = 0; cell < kCells; ++cell) access(0, cell, kKilnSimtWrite);
    block_barrier();
  }

  void step() {
    const unsigned choice = below(100);
    if (choice < 90) {
      const unsigned kind = below(10);
      access(below(3) == 0 ? below(threads_) : below(4), below(kCells),
             kind < 7   ? kKilnSimtRead
             : kind < 9 ? kKilnSimtAtomic
                        : kKilnSimtWrite);
    } else if (choice < 95) {
      meet_lanes();
    } else if (choice < 98) {
      named_barrier();
    } else {
      block_barrier();
    }
  }
  unsigned races() const { return races_; }

 private:
  static constexpr unsigned kWarps = 4;
  static constexpr std::size_t kCells = 3;

  unsigned below(std::size_t end) { return static_cast<unsigned>(random_() % end); }

  void access(unsigned thread, std::size_t cell, KilnSimtAccessKind kind) {
    if (raced_[cell]) return;  // one race says nothing about what follows it
    static constexpr const char* kFile = "a.cu";
    const auto fault = check_.access(cell * 4, 4, kind, SimtSharedCheck::Flight::none,
                                     {kFile, below(2)}, order_.now(thread), order_);
    const bool expected = model_.access(thread, cell, kind);
    EXPECT_EQ(fault.has_value(), expected) << "thread " << thread << ", cell " << cell;
    if (fault) {
      EXPECT_EQ(fault->kind, FindingKind::race);
    }
    if (!fault && !expected) return;
    raced_[cell] = true;
    ++races_;
  }
  void meet_lanes() {
    const unsigned warp = below(kWarps);
    std::uint64_t lanes = random_();
    if (warp_size_ < 64) lanes &= (std::uint64_t{1} << warp_size_) - 1;
    if (below(4) == 0) lanes = ~std::uint64_t{0} >> (64 - warp_size_);
    std::vector<unsigned> threads;
    for (unsigned lane = 0; lane < warp_size_; ++lane) {
      if ((lanes >> lane & 1) != 0) threads.push_back(warp * warp_size_ + lane);
    }
    order_.meet_lanes(warp, lanes);
    model_.meet(threads);
  }
  void named_barrier() {
    std::vector<unsigned> warps;
    for (unsigned warp = 0; warp < kWarps; ++warp) {
      if (below(3) != 0) warps.push_back(warp);
    }
    order_.meet_warps(warps);
    std::vector<unsigned> threads;
    for (const unsigned warp : warps) {
      for (unsigned lane = 0; lane < warp_size_; ++lane) {
        threads.push_back(warp * warp_size_ + lane);
      }
    }
    model_.meet(threads);
  }
  void block_barrier() {
    order_.block_barrier();
    std::vector<unsigned> all(threads_);
    for (unsigned i = 0; i < threads_; ++i) all[i] = i;
    model_.meet(all);
  }

  std::mt19937_64 random_;
  unsigned warp_size_;
  unsigned threads_;
  Model model_;
  SimtOrder order_;
  SimtSharedCheck check_;
  bool raced_[kCells] = {};
  unsigned races_ = 0;
};

TEST(SimtSharedCheck, FindsTheRacesOfAPlainModelAndNoOthers) {
  for (const unsigned warp_size : {32U, 64U}) {
    unsigned races = 0;
    for (unsigned seed = 0; seed < 400 && !testing::Test::HasFailure(); ++seed) {
      Program program(seed, warp_size);
      for (int i = 0; i < 120; ++i) program.step();
      races += program.races();
    }
    EXPECT_GT(races, 400U);
    EXPECT_LT(races, 1200U);  // else no program got far
  }
}

// Every one of many readers matters: the write is ordered after all of them but one.
TEST(SimtSharedCheck, OneReaderOfManyIsNotForgotten) {
  constexpr unsigned kThreads = 1024;
  for (unsigned forgotten = 0; forgotten < kThreads; forgotten += 31) {
    SimtOrder order;
    order.start_block(kThreads, 32);
    SimtSharedCheck check;
    check.start_block();
    const auto access = [&](unsigned thread, KilnSimtAccessKind kind) {
      return check.access(0, 4, kind, SimtSharedCheck::Flight::none, {"a.cu", 1}, order.now(thread),
                          order);
    };
    EXPECT_FALSE(access(0, kKilnSimtWrite));
    order.block_barrier();
    for (unsigned thread = 0; thread < kThreads; ++thread)
      EXPECT_FALSE(access(thread, kKilnSimtRead));
    const unsigned warp = forgotten / 32;
    const unsigned writer = forgotten ^ 1;  // of the same warp
    std::vector<unsigned> others;
    for (unsigned i = 0; i < 32; ++i) others.push_back(i);
    if (forgotten % 2 == 0) {  // lanes of the warp alone, less one
      order.meet_warps(others);
      EXPECT_FALSE(access(forgotten, kKilnSimtRead));
      order.meet_lanes(warp, ~(std::uint64_t{1} << forgotten % 32) & 0xffffffffU);
    } else {  // all warps but its own
      others.erase(others.begin() + warp);
      order.meet_warps(others);
    }
    const unsigned by = forgotten % 2 == 0 ? writer : (warp == 0 ? 32 : 0);
    const auto fault = access(by, kKilnSimtWrite);
    ASSERT_TRUE(fault) << forgotten;
    EXPECT_EQ(fault->kind, FindingKind::race);
    if (forgotten % 2 == 0) {
      EXPECT_EQ(fault->earlier->thread, forgotten);
    } else {
      EXPECT_EQ(fault->earlier->thread / 32, warp);
    }
  }
}

}  // namespace
}  // namespace kiln
