// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_shared_check.h"

#include <algorithm>
#include <utility>

namespace kiln {

void SimtSharedCheck::start_block() {
  ++block_;
  groups_.clear();
  free_ = 0;
}

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
      Cell& upper = row.cells[at + half];
      upper = row.cells[at];
      upper.reads = copy_of(upper.reads);
      upper.atomics = copy_of(upper.atomics);
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
    if (cell.epoch != order.epoch()) {  // a block barrier is after all of them
      drop(cell.reads);
      drop(cell.atomics);
      cell.epoch = order.epoch();
    }
    if (!fault) fault = fault_of(cell, access, order);
    note(cell, access, flight, order);
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

namespace {

SharedFault clash(FindingKind kind, unsigned thread, KilnSimtSite site, KilnSimtAccessKind what) {
  return {kind, SharedFault::Earlier{thread, site, what}};
}

}  // namespace

std::optional<SharedFault> SimtSharedCheck::fault_of(const Cell& cell, const Access& access,
                                                     const SimtOrder& order) const {
  const Access& write = cell.write;
  const unsigned writer = write.moment.thread;
  if (cell.in_flight) return clash(FindingKind::unfinished_copy, writer, write.site, write.kind);
  if (!cell.written && access.kind != kKilnSimtWrite) {
    return SharedFault{FindingKind::uninitialised_read, std::nullopt};
  }
  if (!order.before(write.moment, access.moment.thread)) {
    return clash(FindingKind::race, writer, write.site, write.kind);
  }
  if (access.kind != kKilnSimtAtomic) {
    if (auto fault = race_with(cell.atomics, access, order)) return fault;
  }
  if (access.kind == kKilnSimtRead) return std::nullopt;
  return race_with(cell.reads, access, order);
}

std::optional<SharedFault> SimtSharedCheck::race_with(List list, const Access& access,
                                                      const SimtOrder& order) const {
  while (list != 0) {
    const Group& group = groups_[list - 1];
    const Access& earlier = group.access;
    if (const auto other = order.not_before(group.lanes, earlier.moment, access.moment.thread)) {
      return clash(FindingKind::race, *other, earlier.site, earlier.kind);
    }
    list = group.next;
  }
  return std::nullopt;
}

void SimtSharedCheck::note(Cell& cell, const Access& access, Flight flight,
                           const SimtOrder& order) {
  switch (access.kind) {
    case kKilnSimtRead:
      add(cell.reads, access, order);
      break;
    case kKilnSimtAtomic:
      cell.written = true;
      add(cell.atomics, access, order);
      break;
    case kKilnSimtWrite:
      cell.written = true;
      cell.in_flight = flight == Flight::copy;
      cell.write = access;
      drop(cell.reads);
      drop(cell.atomics);
      break;
  }
}

void SimtSharedCheck::add(List& list, const Access& access, const SimtOrder& order) {
  const SimtMoment& now = access.moment;
  const unsigned warp = order.warp_of(now.thread);
  const std::uint64_t lane = order.lane_bit(now.thread);
  List same = 0;
  for (List* link = &list; *link != 0;) {
    Group& group = groups_[*link - 1];
    const SimtMoment& then = group.access.moment;
    if (order.warp_of(then.thread) == warp) {
      const KilnSimtSite& site = group.access.site;
      if (then.clock == now.clock && then.named == now.named && site.line == access.site.line &&
          site.file == access.site.file) {
        same = *link;
      } else {
        group.lanes &= ~lane;  // one thread's accesses are in order
      }
    }
    if (*link != same && !order.not_before(group.lanes, then, now.thread)) {
      const List gone = *link;
      *link = std::exchange(group.next, free_);
      free_ = gone;
    } else {
      link = &group.next;
    }
  }
  if (same == 0) {
    same = new_group();
    groups_[same - 1] = {access, 0, std::exchange(list, same)};
  }
  groups_[same - 1].lanes |= lane;
}

SimtSharedCheck::List SimtSharedCheck::new_group() {
  if (free_ != 0) {
    const List taken = free_;
    free_ = groups_[taken - 1].next;
    return taken;
  }
  groups_.emplace_back();
  return static_cast<List>(groups_.size());
}

SimtSharedCheck::List SimtSharedCheck::copy_of(List list) {
  List copy = 0;
  for (; list != 0; list = groups_[list - 1].next) {
    const List added = new_group();
    groups_[added - 1] = groups_[list - 1];
    groups_[added - 1].next = std::exchange(copy, added);
  }
  return copy;
}

void SimtSharedCheck::drop(List& list) {
  while (list != 0) {
    Group& group = groups_[list - 1];
    const List gone = std::exchange(list, group.next);
    group.next = std::exchange(free_, gone);
  }
}

}  // namespace kiln
