// SPDX-License-Identifier: Apache-2.0
// The tiles of out that one block or work item makes. The launch plan and the kernels both ask
// here.
#pragma once

namespace kiln {

struct RouterGemmTile {
  int experts;
  int tokens;
};

// The entry points of the GPU source, in the order of its name expressions. The first two split K
// over a block; the last gives each warp a tile of its own.
constexpr RouterGemmTile kRouterGemmOneToken = {1, 1};
constexpr RouterGemmTile kRouterGemmFewTokens = {1, 4};
constexpr RouterGemmTile kRouterGemmManyTokens = {4, 8};
// Whatever the warp size is, so that the launch plan need not know it.
constexpr int kRouterGemmManyTilesPerBlock = 4;

// Of the native CPU: four rows of W stay in the first-level cache while the tokens pass by, and
// these few in the second while the rows of W do.
constexpr RouterGemmTile kRouterGemmCpuItem = {4, 32};

}  // namespace kiln
