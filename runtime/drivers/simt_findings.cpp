// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace kiln {
namespace {

constexpr std::size_t kListedMax = 20;

}  // namespace

std::string_view name_of(FindingKind kind) {
  switch (kind) {
    case FindingKind::race:
      return "race";
    case FindingKind::uninitialised_read:
      return "uninitialised read";
    case FindingKind::shared_out_of_bounds:
      return "shared memory out of bounds";
    case FindingKind::global_out_of_bounds:
      return "global memory out of bounds";
    case FindingKind::misaligned:
      return "misaligned access";
    case FindingKind::wrong_lane_map:
      return "wrong lane map";
    case FindingKind::unfinished_copy:
      return "asynchronous copy not waited for";
    case FindingKind::divergent_barrier:
      return "divergent barrier";
    case FindingKind::inactive_lane:
      return "inactive lane";
    case FindingKind::not_uniform:
      return "value not uniform in the warp";
    case FindingKind::shared_memory_exceeded:
      return "too much shared memory";
  }
  return "finding";
}

std::string text_of(KilnSimtSite site) {
  return site.file ? fmt::format("{}:{}", site.file, site.line) : "an unknown line";
}

void SimtFindings::add(FindingKind kind, std::uint64_t block, KilnSimtSite site, KilnSimtSite other,
                       const std::function<std::string()>& describe) {
  const Key key{kind, text_of(site), other.file ? text_of(other) : std::string()};
  const std::lock_guard lock(mutex_);
  const auto [it, is_new] = entries_.try_emplace(key, Entry{block, 0, {}});
  Entry& entry = it->second;
  ++entry.times;
  if (!is_new && block >= entry.block) return;
  entry.block = block;
  entry.text = fmt::format("{}: {}", name_of(kind), describe());
}

Result<void> SimtFindings::outcome() const {
  const std::lock_guard lock(mutex_);
  if (entries_.empty()) return {};
  std::vector<const Entry*> sorted;
  for (const auto& [key, entry] : entries_) sorted.push_back(&entry);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Entry* a, const Entry* b) { return a->block < b->block; });
  std::string log;
  for (std::size_t i = 0; i < std::min(sorted.size(), kListedMax); ++i) {
    log += sorted[i]->text;
    if (sorted[i]->times > 1) log += fmt::format(" [{} times]", sorted[i]->times);
    log += '\n';
  }
  if (sorted.size() > kListedMax) log += fmt::format("and {} more\n", sorted.size() - kListedMax);
  std::string message = fmt::format("kernel '{}': {}", kernel_, sorted.front()->text);
  if (sorted.size() > 1) message += fmt::format(" (and {} more findings)", sorted.size() - 1);
  return fail(ErrorCode::driver_failed, std::move(message), std::move(log));
}

}  // namespace kiln
