// SPDX-License-Identifier: Apache-2.0
// Listings and totals. None reads a payload.
#include <algorithm>

#include "cache/schema.h"
#include "cache/sqlite_store.h"

namespace kiln {
namespace {

constexpr std::int64_t kPageRows = 256;
// A text that fills no page from among so many of the last used rows is rare: then all labels are
// gone through, and more is returned at once.
constexpr std::int64_t kRowsTried = 4096;
constexpr std::int64_t kRareRows = 16 * 1024;
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
const std::string kBefore = "WHERE (e.last_used_us, e.id) < (?1, ?2) ";
// In the order of the index, so that the first rows need no sort of all; or those of few ids, which
// are found first and then sorted ("+" keeps the other index out).
const std::string kByUse = "ORDER BY e.last_used_us DESC, e.id DESC LIMIT ?3";
const std::string kSorted = "ORDER BY +e.last_used_us DESC, +e.id DESC LIMIT ?3";
const std::string kHasText = "AND (?4 = '' OR instr(e.label, ?4) > 0) ";
const std::string kAll = kBefore + kByUse;
// Among the next ?5 rows and those used at the same time as the last of them.
const std::string kOften = kBefore + kHasText + R"sql(
AND e.last_used_us >= ifnull((SELECT last_used_us FROM entry WHERE (last_used_us, id) < (?1, ?2)
                              ORDER BY last_used_us DESC, id DESC LIMIT 1 OFFSET ?5 - 1), 0)
)sql" + kByUse;
// The index of labels has all that the inner question asks for.
const std::string kRare =
    kBefore + "AND e.id IN (SELECT id FROM entry WHERE instr(label, ?4) > 0) " + kSorted;
const std::string kOfKey = kBefore + kHasText + "AND e.request BETWEEN ?5 AND ?6 " + kSorted;

// One way to find rows, with their records and without.
struct PageSql {
  explicit PageSql(const std::string& rest) : with_records(kRow + rest), bare(kBareRow + rest) {}
  const char* text(const StoreFilter& filter) const {
    return (filter.with_records ? with_records : bare).c_str();
  }
  const std::string with_records;
  const std::string bare;
};
const PageSql kAllPage(kAll);
const PageSql kOftenPage(kOften);
const PageSql kRarePage(kRare);
const PageSql kKeyPage(kOfKey);
const std::string kLabelsFrom = kRow + "WHERE e.label >= ?1 ORDER BY e.label LIMIT ?2";
const std::string kLabelsBefore = kRow + "WHERE e.label < ?1 ORDER BY e.label DESC LIMIT ?2";

constexpr const char* kTotals = R"sql(
SELECT entries, payload_bytes, size_bytes, hits, puts, rejected, evicted FROM totals
)sql";

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

std::int64_t rows_wanted(const StoreFilter& filter, std::int64_t rows_max) {
  return filter.limit < 0 ? rows_max : std::min(filter.limit, rows_max);
}

Result<StorePage> read_page(Query& query, std::int64_t wanted) {
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
}

Result<StorePage> page_of_text(Database& database, const StoreFilter& filter,
                               const StoreCursor& after) {
  const std::int64_t few = rows_wanted(filter, kPageRows);
  Query often(database, kOftenPage.text(filter));
  often.bind(after.last_used_us).bind(after.id).bind(few).bind(filter.label_contains);
  KILN_TRY_ASSIGN(StorePage page, read_page(often.bind(kRowsTried), few));
  if (page.next) return page;
  const std::int64_t more = rows_wanted(filter, kRareRows);
  Query rare(database, kRarePage.text(filter));
  rare.bind(after.last_used_us).bind(after.id).bind(more).bind(filter.label_contains);
  return read_page(rare, more);
}

}  // namespace

Result<StorePage> SqliteStore::page(const StoreFilter& filter, const StoreCursor& after) {
  const bool by_key = filter.request || filter.key_hex;
  const auto range = by_key ? range_of(filter) : KeyRange{};
  if (!range) return StorePage{};
  return ask([&]() -> Result<StorePage> {
    // For the order and the times. Where somebody else is writing, they are a little old.
    if (!pending_.empty()) (void)write(Patience::little, [] { return Result<void>(); });
    if (!by_key && !filter.label_contains.empty()) return page_of_text(*database_, filter, after);
    const std::int64_t wanted = rows_wanted(filter, kPageRows);
    Query query(*database_, (by_key ? kKeyPage : kAllPage).text(filter));
    query.bind(after.last_used_us).bind(after.id).bind(wanted);
    if (by_key) {
      query.bind(filter.label_contains).bind(range->first.bytes).bind(range->last.bytes);
    }
    return read_page(query, wanted);
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
