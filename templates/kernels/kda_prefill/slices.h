// SPDX-License-Identifier: Apache-2.0
// How many values of a state matrix one work item of the native CPU takes through a whole sequence.
// The launch plan and the kernel both ask here.
#pragma once

namespace kiln {

// A few KiB of state stay in the caches from token to token; layout KV takes more values at once.
constexpr int kda_prefill_cpu_rows(bool vk) {
  return vk ? 32 : 64;
}

}  // namespace kiln
