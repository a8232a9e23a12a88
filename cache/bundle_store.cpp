// SPDX-License-Identifier: Apache-2.0
#include "cache/bundle_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cache/folder.h"

namespace kiln {
namespace {

class BundleStore final : public Store {
 public:
  BundleStore(std::filesystem::path file, Bundle bundle)
      : file_(std::move(file)), bundle_(std::move(bundle)) {}

  StoreLookup find(const Key& key, std::string_view record) override {
    const auto index = bundle_.find(key);
    if (!index) return {};
    auto entry = bundle_.read(*index);
    if (!entry) return rejected(entry.error().message);
    if (entry->record != record) return rejected(another("the same key and another record"));
    return hit(key, std::move(*entry));
  }

  StoreLookup find_newest(const Digest& request, const Record& request_record) override {
    StoreLookup answer;
    // Nothing in a bundle says which one is newer: the first in the order of toolchains serves.
    for (std::size_t i = first_of(request); i < rows().size(); ++i) {
      if (rows()[i].key.request != request) break;
      auto entry = bundle_.read(i);
      if (!entry) {
        answer = rejected(entry.error().message);
        continue;
      }
      const auto record = KeyRecord::split(entry->record);
      if (record && record->request == request_record) return hit(rows()[i].key, std::move(*entry));
      answer = rejected(another("the same request digest and another request"));
    }
    return answer;
  }

  Result<void> put(const Key&, const StoreEntry&) override { return read_only(); }
  Result<void> quarantine(const Key&, std::string_view) override { return read_only(); }

  Result<std::optional<ExaminedEntry>> walk(std::int64_t after_id) override {
    const auto index = static_cast<std::size_t>(std::max<std::int64_t>(after_id, 0));
    if (index >= rows().size()) return std::nullopt;
    return inspect(index);
  }

  Result<std::optional<ExaminedEntry>> look(const Key& key) override {
    const auto index = bundle_.find(key);
    if (!index) return std::nullopt;
    return inspect(*index);
  }

  // In the order of keys: the cursor's id is the row to begin with.
  Result<StorePage> page(const StoreFilter& filter, const StoreCursor& after) override {
    constexpr std::size_t kPageRows = 256;
    const std::size_t wanted =
        filter.limit < 0 ? kPageRows : std::min(static_cast<std::size_t>(filter.limit), kPageRows);
    StorePage page;
    std::size_t i = after.id == INT64_MAX ? 0 : static_cast<std::size_t>(after.id);
    for (; i < rows().size() && page.rows.size() < wanted; ++i) {
      if (auto row = matching(i, filter)) page.rows.push_back(std::move(*row));
    }
    if (i < rows().size()) page.next = StoreCursor{0, static_cast<std::int64_t>(i)};
    return page;
  }

  Result<std::vector<StoreRow>> near_label(std::string_view label, std::int64_t count) override {
    KILN_TRY_ASSIGN(std::vector<StoreRow> all, list({}));
    std::sort(all.begin(), all.end(),
              [](const StoreRow& a, const StoreRow& b) { return a.label < b.label; });
    const auto place =
        std::lower_bound(all.begin(), all.end(), label,
                         [](const StoreRow& row, std::string_view at) { return row.label < at; });
    const auto first = place - std::min<std::ptrdiff_t>(count, place - all.begin());
    const auto last = place + std::min<std::ptrdiff_t>(count, all.end() - place);
    return std::vector<StoreRow>(std::make_move_iterator(first), std::make_move_iterator(last));
  }

  Result<StoreTotals> totals() override {
    StoreTotals totals;
    totals.entries = rows().size();
    for (const BundleRow& row : rows()) totals.size_bytes += row.raw_bytes;
    totals.payload_bytes = totals.size_bytes;  // with their records: they lie in one piece
    return totals;
  }

  void note(const StoreTally&) override {}
  Result<std::vector<StoreTally>> tallies() override { return std::vector<StoreTally>(); }
  Result<GarbageReport> collect_garbage(std::uint64_t, const GarbageProgress&) override {
    return read_only();
  }
  Result<void> seal() override { return read_only(); }
  Result<void> flush() override { return {}; }
  const std::filesystem::path& file() const override { return file_; }

 private:
  std::span<const BundleRow> rows() const { return bundle_.rows(); }

  std::size_t first_of(const Digest& request) const {
    const auto first = std::lower_bound(
        rows().begin(), rows().end(), request,
        [](const BundleRow& row, const Digest& wanted) { return row.key.request < wanted; });
    return static_cast<std::size_t>(first - rows().begin());
  }

  // Nothing for one that does not match, or cannot be read.
  std::optional<StoreRow> matching(std::size_t index, const StoreFilter& filter) const {
    const Key& key = rows()[index].key;
    if (filter.request && *filter.request != key.request) return std::nullopt;
    if (filter.key_hex && !key.request.hex().starts_with(*filter.key_hex)) return std::nullopt;
    auto entry = bundle_.read(index);
    if (!entry || entry->label.find(filter.label_contains) == std::string::npos) {
      return std::nullopt;
    }
    StoreRow row;
    row.key = key;
    row.size_bytes = entry->payload.size();
    row.label = std::move(entry->label);
    if (filter.with_records) {
      row.record = std::move(entry->record);
      row.info = std::move(entry->info);
    }
    return row;
  }

  ExaminedEntry inspect(std::size_t index) const {
    ExaminedEntry stored;
    stored.id = static_cast<std::int64_t>(index) + 1;
    stored.key = rows()[index].key;
    auto entry = bundle_.read(index);
    if (entry) {
      stored.entry = std::move(*entry);
    } else {
      stored.damage = entry.error().message;
    }
    return stored;
  }

  static StoreLookup hit(const Key& key, StoreEntry entry) {
    StoreLookup lookup;
    lookup.status = StoreLookup::Status::hit;
    lookup.key = key;
    lookup.entry = std::move(entry);
    return lookup;
  }
  static StoreLookup rejected(std::string reason) {
    StoreLookup lookup;
    lookup.status = StoreLookup::Status::rejected;
    lookup.reason = std::move(reason);
    return lookup;
  }
  std::string another(std::string_view what) const {
    return fmt::format("bundle '{}': an entry is rejected: it has {}", file_.string(), what);
  }
  tl::unexpected<Error> read_only() const {
    return fail(ErrorCode::cache_failed,
                fmt::format("bundle '{}': bundles are never written to", file_.string()));
  }

  const std::filesystem::path file_;
  const Bundle bundle_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_bundle_store(const std::filesystem::path& file,
                                                 const BundleTrust& trust) {
  KILN_TRY(check_trusted_file(file, StoreAccess::read_only));
  KILN_TRY_ASSIGN(Bundle bundle, Bundle::open(file, trust));
  return std::unique_ptr<Store>(std::make_unique<BundleStore>(file, std::move(bundle)));
}

}  // namespace kiln
