// SPDX-License-Identifier: Apache-2.0
// Where a thread is: in its block, its warp, the grid.
#pragma once

#include "kiln/dialect.h"

namespace kiln {

struct Coordinates {
  u32 x, y, z;
};

KILN_DEVICE Coordinates thread_idx() {
  return {dialect::thread_x(), dialect::thread_y(), dialect::thread_z()};
}
KILN_DEVICE Coordinates block_idx() {
  return {dialect::block_x(), dialect::block_y(), dialect::block_z()};
}
// Threads per block.
KILN_DEVICE Coordinates block_dim() {
  return {dialect::threads_x(), dialect::threads_y(), dialect::threads_z()};
}
// Blocks in the grid.
KILN_DEVICE Coordinates grid_dim() {
  return {dialect::blocks_x(), dialect::blocks_y(), dialect::blocks_z()};
}

// The rest is for blocks of one dimension.
KILN_DEVICE int thread_rank() {
  return static_cast<int>(dialect::thread_x());
}
KILN_DEVICE int lane() {
  return thread_rank() % warp_size;
}
// Which warp of the block: known to be the same in all its lanes, all of which call it together.
KILN_DEVICE int warp(Site = {}) {
  return static_cast<int>(dialect::warp_uniform(dialect::thread_x() / warp_size));
}

}  // namespace kiln
