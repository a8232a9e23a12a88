// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_block_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/drivers/simt_block.h"
#include "runtime/drivers/simt_value.h"

namespace kiln {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kArenaBytes = 227 << 10;
constexpr std::size_t kSmallArenaBytes = 64 << 10;
constexpr std::size_t kAlignment = 16;
constexpr int kUnwritten = 0xff;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

const char* verb_of(KilnSimtAccessKind kind) {
  switch (kind) {
    case kKilnSimtRead:
      return "reads";
    case kKilnSimtWrite:
      return "writes";
    case kKilnSimtAtomic:
      return "changes (atomically)";
  }
  return "accesses";
}

}  // namespace

std::size_t simt_shared_bytes_max(unsigned warp_size) {
  return warp_size == 64 ? kSmallArenaBytes : kArenaBytes;
}

Result<void> SimtBlockMemory::start_block() {
  if (!arena_) {
    arena_.reset(
        static_cast<std::byte*>(std::aligned_alloc(kPage, (kArenaBytes / kPage + 1) * kPage)));
    if (!arena_) return fail(ErrorCode::out_of_memory, "shared memory of the SIMT machine");
  }
  arrays_.clear();
  used_ = aligned(block_.launch().dims.shared_bytes_dynamic);
  std::memset(arena_.get(), kUnwritten, used_);
  check_.start_block();
  return {};
}

void* SimtBlockMemory::static_array(SimtThread& t, const void* key, const char* name,
                                    std::size_t bytes) {
  for (const StaticArray& array : arrays_) {
    if (array.key == key) return array.data;
  }
  const std::size_t most = simt_shared_bytes_max(block_.launch().warp_size);
  if (bytes > most - std::min(most, used_)) {
    block_.report(FindingKind::shared_memory_exceeded, t.device.site, {}, [&] {
      return fmt::format(
          "'{}' at {} of {} bytes on top of {} is more than the {} that a block may have", name,
          text_of(t.device.site), bytes, used_, most);
    });
    block_.abandon(t);
  }
  std::byte* data = arena_.get() + used_;
  std::memset(data, kUnwritten, bytes);
  used_ += aligned(bytes);
  arrays_.push_back({key, data});
  return data;
}

void* SimtBlockMemory::dynamic_array(SimtThread& t, const char* name, long long offset,
                                     std::size_t bytes) {
  const std::size_t launched = block_.launch().dims.shared_bytes_dynamic;
  const auto first = static_cast<std::size_t>(offset);
  if (offset < 0 || first > launched || bytes > launched - first) {
    block_.report(FindingKind::shared_out_of_bounds, t.device.site, {}, [&] {
      return fmt::format(
          "'{}' at {} takes bytes {} to {} of the launch's {} bytes of dynamic "
          "shared memory",
          name, text_of(t.device.site), offset, offset + static_cast<long long>(bytes), launched);
    });
    block_.abandon(t);
  }
  return arena_.get() + offset;
}

void SimtBlockMemory::start_copy(SimtThread& t, void* to, const void* from, int bytes) {
  t.copies.push_back({to, from, bytes, t.commits});
}

void SimtBlockMemory::finish_copies(SimtThread& t, unsigned pending) {
  if (t.copies.empty()) return;
  const SimtMoment now = block_.launch().checked ? block_.order().now(t.rank()) : SimtMoment{};
  const auto arrives = [&](const SimtCopy& copy) { return copy.group + pending < t.commits; };
  for (const SimtCopy& copy : t.copies) {
    if (!arrives(copy)) continue;
    const auto bytes = static_cast<std::size_t>(copy.bytes);
    if (copy.from) {
      std::memcpy(copy.to, copy.from, bytes);
    } else {
      std::memset(copy.to, 0, bytes);
    }
    if (block_.launch().checked) check_.finish_copy(offset_of(copy.to), bytes, now);
  }
  t.copies.erase(std::remove_if(t.copies.begin(), t.copies.end(), arrives), t.copies.end());
}

// "thread 5 of block (0,0,0) writes 3.5 to tile[3] at a.cu:7"
std::string SimtBlockMemory::describe(const SimtThread& t, const KilnSimtAccess& access) const {
  const std::string what = access.array ? fmt::format("{}[{}]", access.array, access.index)
                                        : fmt::format("element {} of global memory", access.index);
  const std::string much = access.bytes == access.element_bytes
                               ? std::string()
                               : fmt::format(" and on, {} bytes at once,", access.bytes);
  const std::string value =
      access.value ? fmt::format(" (value {})", value_text(access, access.value)) : std::string();
  return fmt::format("{} of {} {} {}{} at {}{}", block_.name_of_thread(t.rank()), block_.where(),
                     verb_of(access.kind), what, much, text_of(access.site), value);
}

bool SimtBlockMemory::misaligned(SimtThread& t, const KilnSimtAccess& access) {
  if (reinterpret_cast<std::uintptr_t>(access.address) % access.bytes == 0) return false;
  block_.report(FindingKind::misaligned, access.site, {}, [&] {
    return fmt::format("{}: an access of {} bytes must be aligned to as many", describe(t, access),
                       access.bytes);
  });
  return true;
}

bool SimtBlockMemory::shared_access(SimtThread& t, const KilnSimtAccess& access,
                                    SimtSharedCheck::Flight flight) {
  const long long elements = access.bytes / access.element_bytes;
  if (access.index < 0 || access.index + elements > access.count) {
    block_.report(FindingKind::shared_out_of_bounds, access.site, {}, [&] {
      return fmt::format("{}; it has {} elements", describe(t, access), access.count);
    });
    return false;
  }
  if (misaligned(t, access)) return false;
  const auto fault = check_.access(offset_of(access.address), access.bytes, access.kind, flight,
                                   access.site, block_.order().now(t.rank()), block_.order());
  if (fault) report_fault(t, access, *fault);
  return true;
}

void SimtBlockMemory::report_fault(SimtThread& t, const KilnSimtAccess& access,
                                   const SharedFault& fault) {
  const KilnSimtSite other = fault.earlier ? fault.earlier->site : KilnSimtSite{};
  block_.report(fault.kind, access.site, other, [&] {
    if (!fault.earlier) return describe(t, access) + ", which nobody has written";
    const std::string earlier =
        fmt::format("{} {} it at {}", block_.name_of_thread(fault.earlier->thread),
                    verb_of(fault.earlier->kind), text_of(other));
    if (fault.kind == FindingKind::unfinished_copy) {
      return fmt::format("{} while an async_copy of {} at {} has not been waited for",
                         describe(t, access), block_.name_of_thread(fault.earlier->thread),
                         text_of(other));
    }
    return fmt::format("{}, and {} with no barrier between; it holds {}", describe(t, access),
                       earlier, value_text(access, access.address));
  });
}

bool SimtBlockMemory::global_access(SimtThread& t, const KilnSimtAccess& access,
                                    const KilnSimtRange* range) {
  const auto first = reinterpret_cast<unsigned long long>(access.address);
  if (!range) range = block_.launch().ranges->find(first);
  if (range && first >= range->begin && first + access.bytes <= range->end) {
    return !misaligned(t, access);
  }
  block_.report(FindingKind::global_out_of_bounds, access.site, {}, [&] {
    if (!range) {
      return fmt::format("{}: {}", describe(t, access), block_.launch().ranges->nearest(first));
    }
    return fmt::format("{}: byte {} of a tensor of {} bytes", describe(t, access),
                       static_cast<long long>(first - range->begin), range->end - range->begin);
  });
  return false;
}

}  // namespace kiln
