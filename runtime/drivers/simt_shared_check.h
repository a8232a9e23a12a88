// SPDX-License-Identifier: Apache-2.0
// SimtSharedCheck: what the checked mode knows of each cell of a block's shared memory: its last
// write, the reads since, whether a copy into it is under way.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/drivers/simt_findings.h"
#include "runtime/drivers/simt_order.h"

namespace kiln {

// What is wrong with an access, and the earlier access that it clashes with, if any.
struct SharedFault {
  FindingKind kind;
  struct Earlier {
    unsigned thread;
    KilnSimtSite site;
    KilnSimtAccessKind kind;
  };
  std::optional<Earlier> earlier;
};

class SimtSharedCheck {
 public:
  // Everything is unwritten again.
  void start_block() { ++block_; }

  // Notes `access` of `bytes` bytes from `offset` on by the thread of `now`; the first thing wrong
  // with it. A copy in flight writes now (kKilnSimtWrite) and is over at finish_copy.
  enum class Flight { none, copy };
  std::optional<SharedFault> access(std::size_t offset, std::size_t bytes, KilnSimtAccessKind kind,
                                    Flight flight, KilnSimtSite site, const SimtMoment& now,
                                    const SimtOrder& order);
  // The copy arrives by what `now`'s thread does now.
  void finish_copy(std::size_t offset, std::size_t bytes, const SimtMoment& now);

 private:
  static constexpr std::size_t kRowBytes = 16;
  static constexpr std::size_t kReadsMax = 4;

  struct Access {
    SimtMoment moment;
    KilnSimtSite site{};
    KilnSimtAccessKind kind = kKilnSimtRead;
  };
  struct Cell {
    bool written = false;
    bool in_flight = false;
    std::uint8_t reads = 0;
    Access write;
    std::array<Access, kReadsMax> read;  // the latest that do not happen before one another
  };
  // Cells are as small as the smallest access to them so far: cell i stands for the bytes from i
  // on, up to the next multiple of cell_bytes; only multiples are in use.
  struct Row {
    std::uint64_t block = 0;
    std::uint8_t cell_bytes = kRowBytes;
    std::array<Cell, kRowBytes> cells;
  };

  Row& row_at(std::size_t index);
  static void split(Row& row, std::size_t cell_bytes);
  static std::optional<SharedFault> fault_of(const Cell& cell, const Access& access,
                                             const SimtOrder& order);
  static void note_read(Cell& cell, const Access& access, const SimtOrder& order);
  // Calls `visit` with each cell of the bytes.
  template <class Visit>
  void visit_cells(std::size_t offset, std::size_t bytes, Visit visit);

  std::uint64_t block_ = 1;
  std::vector<Row> rows_;  // as many as were reached so far
};

}  // namespace kiln
