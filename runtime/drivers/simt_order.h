// SPDX-License-Identifier: Apache-2.0
// SimtOrder: which accesses of a block happen before which, by its barriers and meetings of lanes.
//
// Between threads of one warp by vector clocks; between warps by the block's barriers, and by the
// named barriers, in which whole warps take part.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kiln {

// When a thread did something.
struct SimtMoment {
  std::uint32_t epoch = 0;  // block barriers before it
  std::uint32_t clock = 0;  // of the thread: meetings of its lane before it
  std::uint32_t named = 0;  // of the thread's warp: named barriers before it
  std::uint32_t thread = 0;
};

class SimtOrder {
 public:
  void start_block(unsigned threads, unsigned warp_size);

  SimtMoment now(unsigned thread) const;
  // Whether `earlier` is known to be over for whatever `thread` does now.
  bool before(const SimtMoment& earlier, unsigned thread) const;
  // The same of what each of `lanes` of `earlier`'s warp did at such a moment of its own: a thread
  // for which it does not hold, if any.
  std::optional<unsigned> not_before(std::uint64_t lanes, const SimtMoment& earlier,
                                     unsigned thread) const;
  unsigned warp_of(unsigned thread) const { return thread / warp_size_; }
  std::uint64_t lane_bit(unsigned thread) const { return std::uint64_t{1} << thread % warp_size_; }
  std::uint32_t epoch() const { return epoch_; }

  void block_barrier() { ++epoch_; }
  void meet_lanes(unsigned warp, std::uint64_t lanes);
  // The warps of a named barrier, each once.
  void meet_warps(std::span<const unsigned> warps);

 private:
  // What lane `of` of a warp knows of lane `about`; of itself: its own clock.
  std::uint32_t& known(unsigned warp, unsigned of, unsigned about) {
    return lanes_[(warp * warp_size_ + of) * warp_size_ + about];
  }
  std::uint32_t known(unsigned warp, unsigned of, unsigned about) const {
    return lanes_[(warp * warp_size_ + of) * warp_size_ + about];
  }

  unsigned warp_size_ = 32;
  unsigned warps_ = 0;
  std::uint32_t epoch_ = 0;
  std::vector<std::uint32_t> lanes_;
  std::vector<std::uint32_t> warp_known_;  // what a warp knows of another's named barriers
  std::vector<std::uint32_t> joint_;
};

}  // namespace kiln
