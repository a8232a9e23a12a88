// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace kiln {
namespace {

unsigned long long number_of(const void* data) {
  return reinterpret_cast<unsigned long long>(data);
}

}  // namespace

const KilnSimtRange* SimtRanges::find(unsigned long long address) const {
  auto after = std::upper_bound(
      sorted_.begin(), sorted_.end(), address,
      [](unsigned long long value, const KilnSimtRange& range) { return value < range.begin; });
  if (after == sorted_.begin()) return nullptr;
  --after;
  return address < after->end ? &*after : nullptr;
}

std::string SimtRanges::nearest(unsigned long long address) const {
  const KilnSimtRange* best = nullptr;
  unsigned long long best_distance = 0;
  for (const KilnSimtRange& range : sorted_) {
    const unsigned long long distance =
        address < range.begin ? range.begin - address : address - std::min(address, range.end - 1);
    if (!best || distance < best_distance) {
      best = &range;
      best_distance = distance;
    }
  }
  if (!best) return "no memory was handed to the machine";
  if (address < best->begin) {
    return fmt::format("{} bytes before the nearest tensor, which has {} bytes",
                       best->begin - address, best->end - best->begin);
  }
  return fmt::format("byte {} of the nearest tensor, which has {} bytes", address - best->begin,
                     best->end - best->begin);
}

void SimtMemory::add(const void* data, std::size_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<SimtRanges>(*ranges_);
  const KilnSimtRange range{number_of(data), number_of(data) + bytes};
  const auto at = std::upper_bound(
      next->sorted_.begin(), next->sorted_.end(), range,
      [](const KilnSimtRange& a, const KilnSimtRange& b) { return a.begin < b.begin; });
  next->sorted_.insert(at, range);
  ranges_ = std::move(next);
}

void SimtMemory::remove(const void* data) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<SimtRanges>(*ranges_);
  const auto at =
      std::find_if(next->sorted_.begin(), next->sorted_.end(),
                   [&](const KilnSimtRange& range) { return range.begin == number_of(data); });
  if (at != next->sorted_.end()) next->sorted_.erase(at);
  ranges_ = std::move(next);
}

std::shared_ptr<const SimtRanges> SimtMemory::snapshot() const {
  const std::lock_guard lock(mutex_);
  return ranges_;
}

}  // namespace kiln
