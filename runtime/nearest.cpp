// SPDX-License-Identifier: Apache-2.0
#include "runtime/nearest.h"

#include <fmt/format.h>

namespace kiln {
namespace {

// Enough to find a neighbour; a look-up that missed must not read a million rows.
constexpr std::int64_t kCandidatesMax = 2000;

}  // namespace

Result<std::optional<NearestEntry>> nearest_entry(Store& store, const KeyRecord& asked) {
  const Record joined = asked.joined();
  const auto op = joined.find("request.op");
  StoreFilter filter;
  filter.label_contains = std::string(joined.find("request.implementation").value_or("")) + " ";
  filter.limit = kCandidatesMax;
  KILN_TRY_ASSIGN(std::vector<StoreRow> rows, store.list(filter));
  std::optional<NearestEntry> best;
  for (StoreRow& row : rows) {
    auto stored = Record::parse(row.record);
    if (!stored || stored->find("request.op") != op) continue;
    auto found = differences(*stored, joined);
    if (best && best->differences.size() <= found.size()) continue;
    best = NearestEntry{std::move(row), std::move(found)};
  }
  return best;
}

std::string describe(const NearestEntry& nearest) {
  std::string text = "nearest entry differs in ";
  bool first = true;
  for (const RecordDifference& difference : nearest.differences) {
    std::string_view name = difference.name;
    if (name.starts_with("request.")) name.remove_prefix(8);
    fmt::format_to(std::back_inserter(text), "{}{}: stored {}, asked {}", first ? "" : "; ", name,
                   difference.before.value_or("nothing"), difference.after.value_or("nothing"));
    first = false;
  }
  return text;
}

}  // namespace kiln
