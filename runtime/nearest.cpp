// SPDX-License-Identifier: Apache-2.0
#include "runtime/nearest.h"

#include <fmt/format.h>

namespace kiln {
namespace {

// Enough to find a neighbour; a look-up that missed must not read a million rows.
constexpr std::int64_t kNeighbours = 500;
constexpr std::int64_t kLastUsed = 2000;

class Search {
 public:
  explicit Search(const KeyRecord& asked) : asked_(asked.joined()) {
    whole_ = !asked.toolchain.fields().empty();
    op_ = std::string(asked_.find("request.op").value_or(""));
  }

  void consider(std::vector<StoreRow> rows) {
    for (StoreRow& row : rows) consider(std::move(row));
  }
  std::optional<NearestEntry> best() && { return std::move(best_); }

 private:
  void consider(StoreRow row) {
    auto stored = Record::parse(row.record);
    if (!stored || stored->find("request.op") != op_) return;
    auto found = differences(*stored, asked_);
    if (!whole_) {
      std::erase_if(found, [](const auto& each) { return !each.name.starts_with("request."); });
    }
    if (best_ && best_->differences.size() <= found.size()) return;
    best_ = NearestEntry{std::move(row), std::move(found)};
  }

  Record asked_;
  std::string op_;
  bool whole_ = true;
  std::optional<NearestEntry> best_;
};

}  // namespace

Result<std::optional<NearestEntry>> nearest_entry(Store& store, const KeyRecord& asked,
                                                  std::string_view label) {
  Search search(asked);
  KILN_TRY_ASSIGN(std::vector<StoreRow> neighbours, store.near_label(label, kNeighbours));
  search.consider(std::move(neighbours));
  StoreFilter last_used;
  last_used.limit = kLastUsed;
  KILN_TRY_ASSIGN(std::vector<StoreRow> rows, store.list(last_used));
  search.consider(std::move(rows));
  return std::move(search).best();
}

std::string describe(std::string_view label, std::string_view key,
                     const std::vector<RecordDifference>& differences) {
  std::string text = fmt::format("nearest entry '{}' (key {}) ", label, key);
  // Only requests were compared, and policy `exact` takes no other toolchain.
  if (differences.empty()) return text + "is this request, by a compiler that is not here";
  text += "differs in ";
  bool first = true;
  for (const RecordDifference& difference : differences) {
    std::string_view name = difference.name;
    if (name.starts_with("request.")) name.remove_prefix(8);
    fmt::format_to(std::back_inserter(text), "{}{}: stored {}, asked {}", first ? "" : "; ", name,
                   difference.before.value_or("nothing"), difference.after.value_or("nothing"));
    first = false;
  }
  return text;
}

}  // namespace kiln
