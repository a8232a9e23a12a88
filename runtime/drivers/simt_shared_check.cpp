// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_shared_check.h"

#include <algorithm>

namespace kiln {

SimtSharedCheck::Row& SimtSharedCheck::row_at(std::size_t index) {
  if (index >= rows_.size()) rows_.resize(index + 1);
  Row& row = rows_[index];
  if (row.block != block_) {
    row.block = block_;
    row.cell_bytes = kRowBytes;
    row.cells[0] = Cell{};
  }
  return row;
}

void SimtSharedCheck::split(Row& row, std::size_t cell_bytes) {
  while (row.cell_bytes > cell_bytes) {
    const std::size_t half = row.cell_bytes / 2;
    for (std::size_t at = 0; at < kRowBytes; at += row.cell_bytes) {
      row.cells[at + half] = row.cells[at];
    }
    row.cell_bytes = static_cast<std::uint8_t>(half);
  }
}

template <class Visit>
void SimtSharedCheck::visit_cells(std::size_t offset, std::size_t bytes, Visit visit) {
  const std::size_t end = offset + bytes;
  while (offset < end) {
    Row& row = row_at(offset / kRowBytes);
    const std::size_t first = offset % kRowBytes;
    const std::size_t last = std::min(kRowBytes, first + end - offset);
    // The largest power of two that divides both ends.
    const std::size_t both = first | last;
    split(row, both & (~both + 1));
    for (std::size_t at = first; at < last; at += row.cell_bytes) visit(row.cells[at]);
    offset += last - first;
  }
}

std::optional<SharedFault> SimtSharedCheck::access(std::size_t offset, std::size_t bytes,
                                                   KilnSimtAccessKind kind, Flight flight,
                                                   KilnSimtSite site, const SimtMoment& now,
                                                   const SimtOrder& order) {
  const Access access{now, site, kind};
  std::optional<SharedFault> fault;
  visit_cells(offset, bytes, [&](Cell& cell) {
    if (!fault) fault = fault_of(cell, access, order);
    if (kind == kKilnSimtRead) {
      note_read(cell, access, order);
      return;
    }
    cell.written = true;
    cell.in_flight = flight == Flight::copy;
    cell.reads = 0;
    cell.write = access;
  });
  return fault;
}

void SimtSharedCheck::finish_copy(std::size_t offset, std::size_t bytes, const SimtMoment& now) {
  visit_cells(offset, bytes, [&](Cell& cell) {
    if (!cell.in_flight || cell.write.moment.thread != now.thread) return;
    cell.in_flight = false;
    cell.write.moment = now;
  });
}

std::optional<SharedFault> SimtSharedCheck::fault_of(const Cell& cell, const Access& access,
                                                     const SimtOrder& order) {
  const auto clash = [](FindingKind kind, const Access& earlier) {
    return SharedFault{kind,
                       SharedFault::Earlier{earlier.moment.thread, earlier.site, earlier.kind}};
  };
  if (cell.in_flight) return clash(FindingKind::unfinished_copy, cell.write);
  if (!cell.written && access.kind != kKilnSimtWrite) {
    return SharedFault{FindingKind::uninitialised_read, std::nullopt};
  }
  const unsigned thread = access.moment.thread;
  const bool both_atomic = cell.write.kind == kKilnSimtAtomic && access.kind == kKilnSimtAtomic;
  if (cell.written && !both_atomic && !order.before(cell.write.moment, thread)) {
    return clash(FindingKind::race, cell.write);
  }
  if (access.kind == kKilnSimtRead) return std::nullopt;
  for (std::size_t i = 0; i < cell.reads; ++i) {
    if (!order.before(cell.read[i].moment, thread)) return clash(FindingKind::race, cell.read[i]);
  }
  return std::nullopt;
}

// A read that happens before this one says nothing more: what is ordered after this one is ordered
// after it. Where all places are taken, the thread that holds most of them in spirit gives way:
// reads of as many different warps as possible stay, at least two of them by different threads.
void SimtSharedCheck::note_read(Cell& cell, const Access& access, const SimtOrder& order) {
  const auto end = std::remove_if(
      cell.read.begin(), cell.read.begin() + cell.reads,
      [&](const Access& earlier) { return order.before(earlier.moment, access.moment.thread); });
  cell.reads = static_cast<std::uint8_t>(end - cell.read.begin());
  if (cell.reads < kReadsMax) {
    cell.read[cell.reads++] = access;
    return;
  }
  constexpr unsigned kLanes = 32;  // near enough for warps of 64
  const auto same_warp = [](const Access& a, const Access& b) {
    return a.moment.thread / kLanes == b.moment.thread / kLanes;
  };
  for (std::size_t i = 0; i < kReadsMax; ++i) {
    std::size_t alike = 0;
    for (const Access& other : cell.read) alike += same_warp(cell.read[i], other) ? 1 : 0;
    if (alike > 2 || (alike == 2 && same_warp(cell.read[i], access))) {
      cell.read[i] = access;
      return;
    }
  }
  cell.read[0] = access;
}

}  // namespace kiln
