// SPDX-License-Identifier: Apache-2.0
// The byte cap enforced by hand, and the file made shorter.
#include <algorithm>

#include "cache/layer_file.h"
#include "cache/sqlite_store.h"

namespace kiln {
namespace {

// What one write transaction evicts, some 10 ms: other processes write in between.
constexpr std::int64_t kEvictedAtOnce = 512;
constexpr std::int64_t kRowsRead = 64;
constexpr const char* kFreePages = "PRAGMA freelist_count";
constexpr const char* kShrink = "PRAGMA incremental_vacuum(1024)";

constexpr const char* kSizeBytes = "SELECT size_bytes FROM totals";
constexpr const char* kEntries = "SELECT entries FROM totals";
constexpr const char* kOldest = R"sql(
SELECT id, size_bytes FROM entry WHERE id <> ?1 ORDER BY last_used_us, id LIMIT ?2
)sql";
constexpr const char* kRemoveId = "DELETE FROM entry WHERE id = ?1";
constexpr const char* kCountEvicted = "UPDATE totals SET evicted = evicted + ?1";

constexpr std::int64_t kNoEntry = 0;

std::uint64_t bytes_of(const std::filesystem::path& file) {
  std::error_code none;
  const std::uintmax_t size = std::filesystem::file_size(file, none);
  return none ? 0 : size;
}

using Oldest = std::vector<std::pair<std::int64_t, std::uint64_t>>;  // id, bytes

Result<Oldest> oldest_entries(Database& database, std::int64_t kept_id, std::int64_t count) {
  Oldest oldest;
  Query query(database, kOldest);
  query.bind(kept_id).bind(count);
  Result<bool> row = query.next();
  for (; row && *row; row = query.next()) {
    oldest.emplace_back(query.integer(0), static_cast<std::uint64_t>(query.integer(1)));
  }
  KILN_TRY(row);
  return oldest;
}

}  // namespace

Result<SqliteStore::Eviction> SqliteStore::evict(std::uint64_t size_bytes_max,
                                                 std::int64_t entries_max, std::int64_t kept_id) {
  KILN_TRY_ASSIGN(const std::int64_t total, database_->integer(kSizeBytes));
  Eviction eviction{0, static_cast<std::uint64_t>(total)};
  while (eviction.size_bytes > size_bytes_max && eviction.entries < entries_max) {
    const std::int64_t count = std::min(kRowsRead, entries_max - eviction.entries);
    KILN_TRY_ASSIGN(const Oldest oldest, oldest_entries(*database_, kept_id, count));
    if (oldest.empty()) break;
    for (const auto& [id, freed] : oldest) {
      if (eviction.size_bytes <= size_bytes_max) break;
      KILN_TRY(Query(*database_, kRemoveId).bind(id).run());
      eviction.size_bytes -= std::min(eviction.size_bytes, freed);
      ++eviction.entries;
    }
  }
  if (eviction.entries > 0) {
    KILN_TRY(Query(*database_, kCountEvicted).bind(eviction.entries).run());
  }
  return eviction;
}

Result<GarbageReport> SqliteStore::collect_batch(std::uint64_t size_bytes_max) {
  KILN_TRY_ASSIGN(const auto lock, enter());
  GarbageReport report;
  KILN_TRY(write(Patience::full, [&]() -> Result<void> {
    KILN_TRY_ASSIGN(const Eviction eviction, evict(size_bytes_max, kEvictedAtOnce, kNoEntry));
    KILN_TRY_ASSIGN(const std::int64_t left, database_->integer(kEntries));
    report.entries_evicted = static_cast<std::uint64_t>(eviction.entries);
    report.entries_left = static_cast<std::uint64_t>(left);
    report.size_bytes_left = eviction.size_bytes;
    return {};
  }));
  return report;
}

Result<GarbageReport> SqliteStore::collect_garbage(std::uint64_t size_bytes_max,
                                                   const GarbageProgress& progress) {
  GarbageReport report;
  report.file_bytes_before = report.file_bytes_after = bytes_of(file_);
  for (bool more = true; more;) {
    KILN_TRY_ASSIGN(const GarbageReport batch, collect_batch(size_bytes_max));
    report.entries_evicted += batch.entries_evicted;
    report.entries_left = batch.entries_left;
    report.size_bytes_left = batch.size_bytes_left;
    more = batch.entries_evicted > 0 && batch.size_bytes_left > size_bytes_max;
    if (progress) progress(report);
  }
  KILN_TRY(shrink_file(report, progress));
  return report;
}

// The file itself becomes shorter when the log is moved into it. A reader that holds an old state
// delays that until a later checkpoint, so it is no error here.
Result<void> SqliteStore::shrink_file(GarbageReport& report, const GarbageProgress& progress) {
  for (bool more = true; more;) {
    KILN_TRY_ASSIGN(const auto lock, enter());
    KILN_TRY_ASSIGN(const std::int64_t free_before, database_->integer(kFreePages));
    KILN_TRY(database_->run(kShrink));
    KILN_TRY_ASSIGN(const std::int64_t free_after, database_->integer(kFreePages));
    more = free_after > 0 && free_after < free_before;
    KILN_TRY(database_->run("PRAGMA wal_checkpoint(PASSIVE)"));
    report.file_bytes_after = bytes_of(file_);
    if (progress) progress(report);
  }
  KILN_TRY_ASSIGN(const auto lock, enter());
  KILN_TRY(database_->run("PRAGMA wal_checkpoint(TRUNCATE)"));
  report.file_bytes_after = bytes_of(file_);
  return {};
}

Result<void> SqliteStore::seal() {
  KILN_TRY_ASSIGN(const auto lock, enter());
  KILN_TRY(write(Patience::full, [] { return Result<void>(); }));
  KILN_TRY(seal_file(*database_, file_));
  // Opened again, it would be a cache again.
  database_.reset();
  return {};
}

}  // namespace kiln
