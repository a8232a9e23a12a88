// SPDX-License-Identifier: Apache-2.0
// SimtWarps: what lanes of a warp do together. Each lane of a mask leaves its operands; when the
// last of them comes, all get their results.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/drivers/simt_matrix.h"
#include "runtime/drivers/simt_thread.h"

namespace kiln {

class SimtWarps {
 public:
  explicit SimtWarps(SimtBlock& block) : block_(block) {}
  void start_block();

  // Called on the fiber of `thread`, whose operands are in place; returns with its results.
  void meet(SimtThread& thread, SimtOperation operation, std::uint64_t mask);
  // `thread` has ended: nobody waits for it any more.
  void exit(SimtThread& thread);
  // Whether value `i` of the thread's part of a product is at `place`; it is found where not.
  void check_value(const SimtThread& thread, KilnSimtMatrix kind, int i, MatrixPlace place);
  std::uint64_t all_lanes() const;
  // The lanes of a warp that exist and have not ended.
  std::uint64_t live(unsigned warp) const { return warps_[warp].live; }
  // Which lanes `waiting` waits for, for people.
  std::string missing_lanes(const SimtThread& waiting) const;

 private:
  struct Meeting {
    SimtOperation operation;
    std::uint64_t mask;
    unsigned line;  // of matrix instructions, which all lanes execute at one place; else 0
    std::uint64_t arrived;
  };
  struct Warp {
    std::uint64_t live = 0;  // lanes that exist and have not ended
    std::vector<Meeting> open;
  };

  SimtThread& lane(unsigned warp, unsigned lane);
  void complete(unsigned warp, const Meeting& meeting);
  void shuffle(unsigned warp, const Meeting& meeting);
  void compare(unsigned warp, const Meeting& meeting);
  void vote(unsigned warp, const Meeting& meeting);
  bool complete_warp(unsigned warp, const Meeting& meeting);
  void matrix(unsigned warp, const Meeting& meeting);
  void check_lane_map(unsigned warp, KilnSimtMatrix kind,
                      std::span<const KilnSimtMatrixOperands> lanes);
  template <class Visit>
  void visit(std::uint64_t lanes, unsigned warp, Visit visit);

  SimtBlock& block_;
  std::vector<Warp> warps_;
};

}  // namespace kiln
