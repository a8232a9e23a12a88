// SPDX-License-Identifier: Apache-2.0
// How many work items the native CPU makes of one state matrix of V rows. The launch plan and the
// kernel both ask here, since a kernel is told only which items it shall do.
#pragma once

namespace kiln {

// As few as give the threads of a large host something to do each, since every slice computes the
// gate and the norms of its head again; slices of at least 16 rows.
constexpr int kda_decode_cpu_slices(long long states, int v) {
  constexpr int kItemsWanted = 128;
  int slices = 1;
  while (states * slices < kItemsWanted && v % (slices * 2 * 16) == 0) slices *= 2;
  return slices;
}

}  // namespace kiln
