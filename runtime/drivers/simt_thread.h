// SPDX-License-Identifier: Apache-2.0
// SimtThread: one thread of a block, and why it waits.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "templates/device/kiln/simt_abi.h"

namespace kiln {

class SimtBlock;

enum class SimtOperation : std::uint8_t {
  none,  // it runs, or could
  exited,
  block_barrier,
  named_barrier,
  // of a warp:
  warp_barrier,
  shuffle,
  ballot,
  warp_uniform,
  matrix,
  load_matrix,
};
std::string_view name_of(SimtOperation operation);

// A cp.async that is under way.
struct SimtCopy {
  void* to;
  const void* from;  // null: zeros
  int bytes;
  unsigned group;  // commits before it
};

// What the kernel sees comes first, so that both sides may use one address.
struct SimtThread {
  KilnSimtThread device;

  unsigned warp;
  unsigned lane;

  std::uint64_t mask;  // of a warp operation
  int barrier;         // the number of a named barrier
  // Operands and result of a warp operation.
  std::uint64_t value;
  int source;
  const KilnSimtMatrixOperands* operands;
  const KilnSimtMatrixLoad* load;

  unsigned commits;
  std::vector<SimtCopy> copies;

  unsigned rank() const { return device.rank; }
};

}  // namespace kiln
