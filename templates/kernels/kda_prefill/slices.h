// SPDX-License-Identifier: Apache-2.0
// How many values of a state matrix one work item of the native CPU takes through a whole sequence.
// The launch plan and the kernel both ask here.
#pragma once

namespace kiln {

// 16 KiB of state stay in the first-level cache from token to token.
constexpr int kKdaPrefillCpuRows = 32;

}  // namespace kiln
