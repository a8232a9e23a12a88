// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_stacks.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace kiln {
namespace {

constexpr std::size_t kGuardBytes = 4096;
constexpr std::size_t kColours = 64;
constexpr std::size_t kColourBytes = 9 * 64;

tl::unexpected<Error> no_memory(const char* call) {
  return fail(ErrorCode::out_of_memory,
              fmt::format("stacks of the SIMT machine: {}: {}", call, std::strerror(errno)));
}

}  // namespace

Result<SimtStacks> SimtStacks::reserve() {
  static_assert(kRecordSlots * kKilnSimtStackBytes >=
                (kRecordSlots + kSimtThreadsMax) * kKilnSimtThreadBytes);
  static_assert(kRecordSlots + kSimtThreadsMax <= kKilnSimtSlots);
  constexpr std::size_t wanted = 2 * kKilnSimtRegionBytes;
  void* mapped =
      mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return no_memory("mmap");
  auto* first = static_cast<std::byte*>(mapped);
  const std::size_t before =
      (kKilnSimtRegionBytes - reinterpret_cast<std::uintptr_t>(first) % kKilnSimtRegionBytes) %
      kKilnSimtRegionBytes;
  std::byte* region = first + before;
  if (before > 0) munmap(first, before);
  const std::size_t after = wanted - before - kKilnSimtRegionBytes;
  if (after > 0) munmap(region + kKilnSimtRegionBytes, after);
  SimtStacks stacks(region);
  if (mprotect(region, kRecordSlots * kKilnSimtStackBytes, PROT_READ | PROT_WRITE) != 0) {
    return no_memory("mprotect");
  }
  return stacks;
}

SimtStacks::SimtStacks(SimtStacks&& other) noexcept
    : region_(std::exchange(other.region_, nullptr)), usable_(other.usable_) {}

SimtStacks::~SimtStacks() {
  if (region_) munmap(region_, kKilnSimtRegionBytes);
}

Result<void> SimtStacks::ensure(unsigned count) {
  for (; usable_ < count; ++usable_) {
    if (mprotect(lowest(usable_), usable_bytes(), PROT_READ | PROT_WRITE) != 0) {
      return no_memory("mprotect");
    }
  }
  return {};
}

void* SimtStacks::record_at(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t region = at & ~static_cast<std::uintptr_t>(kKilnSimtRegionBytes - 1);
  return reinterpret_cast<void*>(region +
                                 (at - region) / kKilnSimtStackBytes * kKilnSimtThreadBytes);
}
std::byte* SimtStacks::lowest(unsigned index) const {
  return region_ + (kRecordSlots + index) * kKilnSimtStackBytes + kGuardBytes;
}
std::size_t SimtStacks::usable_bytes() {
  return kKilnSimtStackBytes - kGuardBytes;
}
std::size_t SimtStacks::skipped_bytes(unsigned index) {
  return index % kColours * kColourBytes;
}

}  // namespace kiln
