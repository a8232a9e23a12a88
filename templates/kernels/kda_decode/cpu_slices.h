// SPDX-License-Identifier: Apache-2.0
// How many work items the native CPU makes of one state matrix with V values. The launch plan and
// the kernel both ask here, since a kernel is told only which items it shall do.
#pragma once

namespace kiln {

// As few as give the threads of a large host something to do each, since every slice computes the
// gate and the norms of its head again; slices of at least 16 values, in layout KV of 64, which lie
// next to one another there.
constexpr int kda_decode_cpu_slices(bool vk, long long states, int v) {
  constexpr int kItemsWanted = 128;
  const int values_min = vk ? 16 : 64;
  int slices = 1;
  while (states * slices < kItemsWanted && v % (slices * 2 * values_min) == 0) slices *= 2;
  return slices;
}

}  // namespace kiln
