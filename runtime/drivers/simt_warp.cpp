// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_warp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "runtime/drivers/simt_block.h"

namespace kiln {

void SimtWarps::start_block() {
  const unsigned size = block_.launch().warp_size;
  warps_.resize((block_.threads() + size - 1) / size);
  for (std::size_t i = 0; i < warps_.size(); ++i) {
    const unsigned lanes = std::min(size, block_.threads() - static_cast<unsigned>(i) * size);
    warps_[i].live = ~std::uint64_t{0} >> (64 - lanes);
    warps_[i].open.clear();
  }
}

std::uint64_t SimtWarps::all_lanes() const {
  return ~std::uint64_t{0} >> (64 - block_.launch().warp_size);
}

SimtThread& SimtWarps::lane(unsigned warp, unsigned number) {
  return block_.thread(warp * block_.launch().warp_size + number);
}

template <class Visit>
void SimtWarps::visit(std::uint64_t lanes, unsigned warp, Visit visit) {
  for (std::uint64_t rest = lanes; rest != 0; rest &= rest - 1) {
    visit(lane(warp, static_cast<unsigned>(std::countr_zero(rest))));
  }
}

void SimtWarps::meet(SimtThread& t, SimtOperation operation, std::uint64_t mask) {
  const std::uint64_t own = std::uint64_t{1} << t.lane;
  if ((mask & own) == 0) {
    block_.report(FindingKind::inactive_lane, t.device.site, {}, [&] {
      return fmt::format("{} of {} calls {} at {} with mask {:#x}, which leaves out its lane {}",
                         block_.name_of_thread(t.rank()), block_.where(), name_of(operation),
                         text_of(t.device.site), mask, t.lane);
    });
    block_.abandon(t);
  }
  Warp& warp = warps_[t.warp];
  const unsigned line = operation >= SimtOperation::matrix ? t.device.site.line : 0;
  auto found = std::find_if(warp.open.begin(), warp.open.end(), [&](const Meeting& meeting) {
    return meeting.operation == operation && meeting.mask == mask && meeting.line == line;
  });
  if (found == warp.open.end()) {
    found = warp.open.insert(warp.open.end(), Meeting{operation, mask, line, 0});
  }
  found->arrived |= own;
  t.mask = mask;
  if ((mask & warp.live & ~found->arrived) != 0) {
    block_.wait(t, operation);
    return;
  }
  const Meeting meeting = *found;
  warp.open.erase(found);
  complete(t.warp, meeting);
  for (std::uint64_t rest = meeting.arrived & ~own; rest != 0;) {
    const unsigned last = 63 - static_cast<unsigned>(std::countl_zero(rest));
    block_.wake(lane(t.warp, last));  // the highest first: the lowest runs next
    rest &= ~(std::uint64_t{1} << last);
  }
  block_.after_waking(t);
}

void SimtWarps::exit(SimtThread& t) {
  Warp& warp = warps_[t.warp];
  warp.live &= ~(std::uint64_t{1} << t.lane);
  for (std::size_t i = 0; i < warp.open.size();) {
    const Meeting meeting = warp.open[i];
    if ((meeting.mask & warp.live & ~meeting.arrived) != 0) {
      ++i;
      continue;
    }
    warp.open.erase(warp.open.begin() + static_cast<std::ptrdiff_t>(i));
    complete(t.warp, meeting);
    visit(meeting.arrived, t.warp, [&](SimtThread& one) { block_.wake(one); });
  }
}

void SimtWarps::complete(unsigned warp, const Meeting& meeting) {
  if (block_.launch().checked) block_.order().meet_lanes(warp, meeting.arrived);
  switch (meeting.operation) {
    case SimtOperation::shuffle:
      shuffle(warp, meeting);
      break;
    case SimtOperation::ballot:
      vote(warp, meeting);
      break;
    case SimtOperation::warp_uniform:
      compare(warp, meeting);
      break;
    case SimtOperation::matrix:
    case SimtOperation::load_matrix:
      matrix(warp, meeting);
      break;
    default:
      break;
  }
}

void SimtWarps::shuffle(unsigned warp, const Meeting& meeting) {
  // Results replace operands only when all are known.
  std::array<std::uint64_t, 64> results;
  visit(meeting.arrived, warp, [&](SimtThread& t) {
    const auto source = static_cast<unsigned>(t.source);
    results[t.lane] = t.value;
    if (source < 64 && (meeting.arrived >> source & 1) != 0) {
      results[t.lane] = lane(warp, source).value;
      return;
    }
    block_.report(FindingKind::inactive_lane, t.device.site, {}, [&] {
      const bool in_mask = source < 64 && (meeting.mask >> source & 1) != 0;
      return fmt::format(
          "{} (lane {}) of {} reads by a shuffle at {} from lane {}, which {}; "
          "mask {:#x}",
          block_.name_of_thread(t.rank()), t.lane, block_.where(), text_of(t.device.site), t.source,
          in_mask ? "has ended or never was" : "is not in its mask", meeting.mask);
    });
  });
  visit(meeting.arrived, warp, [&](SimtThread& t) { t.value = results[t.lane]; });
}

void SimtWarps::vote(unsigned warp, const Meeting& meeting) {
  std::uint64_t votes = 0;
  visit(meeting.arrived, warp, [&](SimtThread& t) { votes |= (t.value & 1) << t.lane; });
  visit(meeting.arrived, warp, [&](SimtThread& t) { t.value = votes; });
}

void SimtWarps::compare(unsigned warp, const Meeting& meeting) {
  const SimtThread& first = lane(warp, static_cast<unsigned>(std::countr_zero(meeting.arrived)));
  visit(meeting.arrived, warp, [&](SimtThread& t) {
    if (t.value == first.value) return;
    block_.report(FindingKind::not_uniform, t.device.site, {}, [&] {
      return fmt::format("{} of {} has {} at {}, {} has {}, where the warp must have one value",
                         block_.name_of_thread(t.rank()), block_.where(), t.value,
                         text_of(t.device.site), block_.name_of_thread(first.rank()), first.value);
    });
  });
}

// Matrix instructions need every lane of the warp.
bool SimtWarps::complete_warp(unsigned warp, const Meeting& meeting) {
  if (meeting.arrived == all_lanes()) return true;
  const SimtThread& t = lane(warp, static_cast<unsigned>(std::countr_zero(meeting.arrived)));
  block_.report(FindingKind::inactive_lane, t.device.site, {}, [&] {
    return fmt::format("{} at {} in warp {} of {} has the lanes {:#x} only; it needs all of them",
                       name_of(meeting.operation), text_of(t.device.site), warp, block_.where(),
                       meeting.arrived);
  });
  return false;
}

void SimtWarps::matrix(unsigned warp, const Meeting& meeting) {
  if (!complete_warp(warp, meeting)) return;
  const unsigned size = block_.launch().warp_size;
  if (meeting.operation == SimtOperation::matrix) {
    std::array<KilnSimtMatrixOperands, 64> all;
    for (unsigned i = 0; i < size; ++i) all[i] = *lane(warp, i).operands;
    const auto lanes = std::span<const KilnSimtMatrixOperands>(all).first(size);
    const auto kind = static_cast<KilnSimtMatrix>(lane(warp, 0).source);
    if (block_.launch().checked) check_lane_map(warp, kind, lanes);
    multiply_matrices(kind, lanes);
    return;
  }
  std::array<KilnSimtMatrixLoad, 64> all;
  for (unsigned i = 0; i < size; ++i) all[i] = *lane(warp, i).load;
  load_matrices(std::span<const KilnSimtMatrixLoad>(all).first(size));
}

void SimtWarps::check_lane_map(unsigned warp, KilnSimtMatrix kind,
                               std::span<const KilnSimtMatrixOperands> lanes) {
  for (const MisplacedElement& one : misplaced_elements(kind, lanes)) {
    const SimtThread& t = lane(warp, one.lane);
    const KilnSimtOrigin& actual = *one.actual;
    const KilnSimtSite site = actual.site.file ? actual.site : t.device.site;
    block_.report(FindingKind::wrong_lane_map, site, t.device.site, [&] {
      const std::string what =
          actual.site.file
              ? fmt::format("element ({},{}){}, taken at {}", actual.row, actual.column,
                            actual.array ? fmt::format(" of {}", actual.array) : "",
                            text_of(actual.site))
              : std::string("an element that was given no row and column");
      return fmt::format(
          "{} (lane {}) of {} has as value {} of {} for {} at {} {}, where the instruction takes "
          "({},{})",
          block_.name_of_thread(t.rank()), t.lane, block_.where(), one.value, one.operand,
          name_of(kind), text_of(t.device.site), what, one.expected.row, one.expected.column);
    });
  }
}

void SimtWarps::check_value(const SimtThread& t, KilnSimtMatrix kind, int i, MatrixPlace place) {
  const MatrixPlace actual = place_of_value(kind, t.lane, i);
  if (actual == place) return;
  block_.report(FindingKind::wrong_lane_map, t.device.site, {}, [&] {
    return fmt::format(
        "{} (lane {}) of {} takes value {} of the product of {} for ({},{}) at {}; "
        "it is ({},{})",
        block_.name_of_thread(t.rank()), t.lane, block_.where(), i, name_of(kind), place.row,
        place.column, text_of(t.device.site), actual.row, actual.column);
  });
}

std::string SimtWarps::missing_lanes(const SimtThread& waiting) const {
  const Warp& warp = warps_[waiting.warp];
  for (const Meeting& meeting : warp.open) {
    if (meeting.mask != waiting.mask || meeting.operation != block_.waits_in(waiting)) continue;
    if ((meeting.arrived >> waiting.lane & 1) == 0) continue;
    return fmt::format("{} at {} with mask {:#x} lacks the lanes {:#x} of warp {}; ",
                       name_of(meeting.operation), text_of(waiting.device.site), meeting.mask,
                       meeting.mask & warp.live & ~meeting.arrived, waiting.warp);
  }
  return {};
}

}  // namespace kiln
