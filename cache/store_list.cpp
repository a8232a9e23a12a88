// SPDX-License-Identifier: Apache-2.0
// Listings and totals. None reads a payload.
#include <algorithm>

#include "cache/sqlite_store.h"

namespace kiln {
namespace {

constexpr std::int64_t kPageRows = 256;
constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;
constexpr std::size_t kHexDigits = 2 * Digest::kSize;

// `payload` is the last column of `content`, so SQLite stops reading a row before it.
const std::string kRow = R"sql(
SELECT e.request, e.toolchain, e.label, e.payload_bytes, e.created_us, e.last_used_us, e.id,
       c.record, c.info
FROM entry e LEFT JOIN content c ON c.id = e.id
)sql";
const std::string kBareRow = R"sql(
SELECT e.request, e.toolchain, e.label, e.payload_bytes, e.created_us, e.last_used_us, e.id, '', ''
FROM entry e
)sql";
const std::string kConditions = R"sql(
WHERE (e.last_used_us, e.id) < (?1, ?2) AND (?3 = '' OR instr(e.label, ?3) > 0)
)sql";
// In the order of the index, so that the first rows need no sort of all; or few by their key, which
// are found first and then sorted ("+" keeps the other index out).
const std::string kByUse = kConditions + "ORDER BY e.last_used_us DESC, e.id DESC LIMIT ?4";
const std::string kOfKey = kConditions + R"sql(
AND e.request BETWEEN ?5 AND ?6 ORDER BY +e.last_used_us DESC, +e.id DESC LIMIT ?4
)sql";
const std::string kPage = kRow + kByUse;
const std::string kBarePage = kBareRow + kByUse;
const std::string kKeyPage = kRow + kOfKey;
const std::string kBareKeyPage = kBareRow + kOfKey;
const std::string kLabelsFrom = kRow + "WHERE e.label >= ?1 ORDER BY e.label LIMIT ?2";
const std::string kLabelsBefore = kRow + "WHERE e.label < ?1 ORDER BY e.label DESC LIMIT ?2";

constexpr const char* kTotals = R"sql(
SELECT entries, payload_bytes, size_bytes, hits, puts, rejected, evicted FROM totals
)sql";

Digest digest_from(ByteView blob) {
  Digest digest;
  std::copy_n(blob.begin(), std::min(blob.size(), Digest::kSize), digest.bytes.begin());
  return digest;
}

struct KeyRange {
  Digest first;
  Digest last;
};

// The requests that the filter leaves; nothing where it leaves none.
std::optional<KeyRange> range_of(const StoreFilter& filter) {
  if (filter.request) return KeyRange{*filter.request, *filter.request};
  const std::string& prefix = *filter.key_hex;
  if (prefix.size() > kHexDigits) return std::nullopt;
  const std::size_t missing = kHexDigits - prefix.size();
  const auto first = Digest::from_hex(prefix + std::string(missing, '0'));
  const auto last = Digest::from_hex(prefix + std::string(missing, 'f'));
  if (!first || !last) return std::nullopt;
  return KeyRange{*first, *last};
}

const char* page_sql(const StoreFilter& filter, bool by_key) {
  if (by_key) return (filter.with_records ? kKeyPage : kBareKeyPage).c_str();
  return (filter.with_records ? kPage : kBarePage).c_str();
}

StoreRow row_from(const Query& query) {
  StoreRow row;
  row.key = {digest_from(query.blob(0)), digest_from(query.blob(1))};
  row.label = query.text(2);
  row.size_bytes = static_cast<std::uint64_t>(query.integer(3));
  row.created_s = query.integer(4) / kMicrosecondsPerSecond;
  row.last_used_s = query.integer(5) / kMicrosecondsPerSecond;
  row.record = query.text(7);
  row.info = query.text(8);
  return row;
}

Result<void> add_rows(Query& query, std::vector<StoreRow>& rows) {
  Result<bool> found = query.next();
  for (; found && *found; found = query.next()) rows.push_back(row_from(query));
  KILN_TRY(found);
  return {};
}

}  // namespace

Result<StorePage> SqliteStore::page(const StoreFilter& filter, const StoreCursor& after) {
  const bool by_key = filter.request || filter.key_hex;
  const auto range = by_key ? range_of(filter) : KeyRange{};
  if (!range) return StorePage{};
  return ask([&]() -> Result<StorePage> {
    // For the order and the times. Where somebody else is writing, they are a little old.
    if (!pending_.empty()) (void)write(Patience::little, [] { return Result<void>(); });
    const std::int64_t wanted = filter.limit < 0 ? kPageRows : std::min(filter.limit, kPageRows);
    Query query(*database_, page_sql(filter, by_key));
    query.bind(after.last_used_us).bind(after.id).bind(filter.label_contains).bind(wanted);
    if (by_key) query.bind(range->first.bytes).bind(range->last.bytes);

    StorePage page;
    StoreCursor last;
    Result<bool> found = query.next();
    for (; found && *found; found = query.next()) {
      page.rows.push_back(row_from(query));
      last = {query.integer(5), query.integer(6)};
    }
    KILN_TRY(found);
    if (static_cast<std::int64_t>(page.rows.size()) == wanted) page.next = last;
    return page;
  });
}

Result<std::vector<StoreRow>> Store::list(const StoreFilter& filter) {
  std::vector<StoreRow> rows;
  StoreFilter rest = filter;
  for (std::optional<StoreCursor> after = StoreCursor{}; after && rest.limit != 0;) {
    KILN_TRY_ASSIGN(StorePage next, page(rest, *after));
    if (rest.limit > 0) rest.limit -= static_cast<std::int64_t>(next.rows.size());
    std::move(next.rows.begin(), next.rows.end(), std::back_inserter(rows));
    after = next.next;
  }
  return rows;
}

Result<std::vector<StoreRow>> SqliteStore::near_label(std::string_view label, std::int64_t count) {
  return ask([&]() -> Result<std::vector<StoreRow>> {
    std::vector<StoreRow> rows;
    for (const std::string* sql : {&kLabelsFrom, &kLabelsBefore}) {
      Query query(*database_, sql->c_str());
      query.bind(label).bind(count);
      KILN_TRY(add_rows(query, rows));
    }
    return rows;
  });
}

Result<StoreTotals> SqliteStore::totals() {
  return ask([&]() -> Result<StoreTotals> {
    Query query(*database_, kTotals);
    KILN_TRY(query.next());
    const auto column = [&](int index) { return static_cast<std::uint64_t>(query.integer(index)); };
    StoreTotals totals;
    totals.entries = column(0);
    totals.payload_bytes = column(1);
    totals.size_bytes = column(2);
    totals.hits = column(3) + static_cast<std::uint64_t>(pending_.hits);
    totals.puts = column(4);
    totals.rejected = column(5);
    totals.evicted = column(6);
    return totals;
  });
}

}  // namespace kiln
