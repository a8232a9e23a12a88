// SPDX-License-Identifier: Apache-2.0
// SimtSharedCheck: what the checked mode knows of each cell of a block's shared memory: its last
// write, what has read or atomically changed it since, whether a copy into it is under way.
//
// That is exact: of the accesses since the last write, those that happen before another one in the
// list say nothing more (what is ordered after the other is ordered after them), and all others are
// kept.
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
  void start_block();

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

  struct Access {
    SimtMoment moment;
    KilnSimtSite site{};
    KilnSimtAccessKind kind = kKilnSimtRead;
  };
  // The same access by several lanes of a warp, as they make them when nothing orders them.
  struct Group {
    Access access;  // of one of them
    std::uint64_t lanes = 0;
    std::uint32_t next = 0;
  };
  // Numbers of groups_ + 1; 0 ends a list.
  using List = std::uint32_t;
  struct Cell {
    bool written = false;
    bool in_flight = false;
    std::uint32_t epoch = 0;  // of the lists
    List reads = 0;
    List atomics = 0;
    Access write;
  };
  // Cells are as small as the smallest access to them so far: cell i stands for the bytes from i
  // on, up to the next multiple of cell_bytes; only multiples are in use.
  struct Row {
    std::uint64_t block = 0;
    std::uint8_t cell_bytes = kRowBytes;
    std::array<Cell, kRowBytes> cells;
  };

  Row& row_at(std::size_t index);
  void split(Row& row, std::size_t cell_bytes);
  std::optional<SharedFault> fault_of(const Cell& cell, const Access& access,
                                      const SimtOrder& order) const;
  std::optional<SharedFault> race_with(List list, const Access& access,
                                       const SimtOrder& order) const;
  void note(Cell& cell, const Access& access, Flight flight, const SimtOrder& order);
  void add(List& list, const Access& access, const SimtOrder& order);
  List new_group();
  List copy_of(List list);
  void drop(List& list);
  // Calls `visit` with each cell of the bytes.
  template <class Visit>
  void visit_cells(std::size_t offset, std::size_t bytes, Visit visit);

  std::uint64_t block_ = 1;
  std::vector<Row> rows_;  // as many as were reached so far
  std::vector<Group> groups_;
  List free_ = 0;
};

}  // namespace kiln
