// SPDX-License-Identifier: Apache-2.0
// How many rows of a state matrix one block of a GPU, or one work item of the native CPU, takes
// through a whole sequence. The launch plan and the kernels both ask here.
#pragma once

namespace kiln {

// Few rows in each thread's registers and many blocks: every block computes gate and norms of each
// token again, but with one sequence there are only as many states as heads to fill a chip with.
constexpr int kKdaPrefillGpuRows = 32;

// 16 KiB of state stay in the first-level cache from token to token.
constexpr int kKdaPrefillCpuRows = 32;

}  // namespace kiln
