// SPDX-License-Identifier: Apache-2.0
// Barriers. Each also orders the memory accesses of those who meet.
#pragma once

#include "kiln/dialect.h"

namespace kiln {

inline constexpr LaneMask all_lanes = static_cast<LaneMask>(~LaneMask{0});

// All threads of the block.
KILN_DEVICE void block_barrier(Site = {}) {
  dialect::block_barrier();
}
// The lanes of `mask`, which all call it.
KILN_DEVICE void warp_barrier(LaneMask mask = all_lanes, Site = {}) {
  dialect::warp_barrier(mask);
}
// `threads` threads of the block, a multiple of the warp size, under a number from 1 to 15
// (block_barrier is number 0). Not on AMD, which has one barrier per block.
template <bool supported = dialect::has_named_barriers>
KILN_DEVICE void named_barrier(int id, int threads, Site = {}) {
  static_assert(supported, "this dialect has no named barriers: use block_barrier");
  dialect::named_barrier(id, threads);
}
// This thread's writes before it are seen, device-wide, before those after it.
KILN_DEVICE void device_fence() {
  dialect::device_fence();
}

}  // namespace kiln
