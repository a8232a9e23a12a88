// SPDX-License-Identifier: Apache-2.0
// Listings and totals. Neither reads a payload.
#include <algorithm>

#include "cache/sqlite_store.h"

namespace kiln {
namespace {

// `payload` is the last column of `content`, so SQLite stops reading a row before it.
constexpr const char* kList = R"sql(
SELECT e.request, e.toolchain, e.label, c.record, c.info,
       e.payload_bytes, e.created_us, e.last_used_us
FROM entry e JOIN content c ON c.id = e.id
WHERE (?1 = '' OR instr(e.label, ?1) > 0)
  AND (length(?2) = 0 OR e.request = ?2)
  AND substr(lower(hex(e.request)), 1, length(?3)) = ?3
ORDER BY e.last_used_us DESC, e.id DESC
LIMIT ?4
)sql";
constexpr const char* kTotals = R"sql(
SELECT entries, payload_bytes, size_bytes, hits, puts, rejected, evicted FROM totals
)sql";

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;

Digest digest_from(ByteView blob) {
  Digest digest;
  std::copy_n(blob.begin(), std::min(blob.size(), Digest::kSize), digest.bytes.begin());
  return digest;
}

}  // namespace

Result<std::vector<StoreRow>> SqliteStore::list(const StoreFilter& filter) {
  KILN_TRY_ASSIGN(const auto lock, enter());
  // For the order and the times. Where somebody else is writing, they are a little old.
  if (pending_.hits > 0) (void)write(Patience::little, [] { return Result<void>(); });
  const ByteView request = filter.request ? ByteView(filter.request->bytes) : ByteView();
  const std::string_view key_hex = filter.key_hex ? std::string_view(*filter.key_hex) : "";
  Query query(*database_, kList);
  query.bind(filter.label_contains).bind(request).bind(key_hex).bind(filter.limit);

  std::vector<StoreRow> rows;
  Result<bool> found = query.next();
  for (; found && *found; found = query.next()) {
    StoreRow row;
    row.key = {digest_from(query.blob(0)), digest_from(query.blob(1))};
    row.label = query.text(2);
    row.record = query.text(3);
    row.info = query.text(4);
    row.size_bytes = static_cast<std::uint64_t>(query.integer(5));
    row.created_s = query.integer(6) / kMicrosecondsPerSecond;
    row.last_used_s = query.integer(7) / kMicrosecondsPerSecond;
    rows.push_back(std::move(row));
  }
  KILN_TRY(found);
  return rows;
}

Result<StoreTotals> SqliteStore::totals() {
  KILN_TRY_ASSIGN(const auto lock, enter());
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
}

}  // namespace kiln
