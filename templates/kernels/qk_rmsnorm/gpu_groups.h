// SPDX-License-Identifier: Apache-2.0
// How the threads of a block share out the vectors of one side. The launch plan and the kernel both
// ask here.
#pragma once

#if KILN_DIALECT_CUDA
#define KILN_QK_RMSNORM_SHARED __device__  // NVRTC refuses functions without it, constexpr or not
#else
#define KILN_QK_RMSNORM_SHARED
#endif

namespace kiln {

constexpr int kQkRmsnormThreads = 256;     // of a block
constexpr int kQkRmsnormPackElements = 8;  // 16 bytes: what a thread moves at once
constexpr int kQkRmsnormSizeMax = 8192;    // elements: at most four packs per thread
constexpr int kQkRmsnormGroupMin = 16;   // elements that share a scale, unless a whole vector does
constexpr int kQkRmsnormGroupMax = 256;  // a pack in each lane of a warp

// Threads that norm one vector of n elements: a pack each as long as the block suffices. A power
// of two, so that groups do not straddle warps unless they fill them.
KILN_QK_RMSNORM_SHARED constexpr int qk_rmsnorm_group(int n) {
  int group = 1;
  while (group < kQkRmsnormThreads && group * kQkRmsnormPackElements < n) group *= 2;
  return group;
}

// Vectors of n elements that a block norms.
KILN_QK_RMSNORM_SHARED constexpr int qk_rmsnorm_vectors_per_block(int n) {
  return kQkRmsnormThreads / qk_rmsnorm_group(n);
}

}  // namespace kiln
