// SPDX-License-Identifier: Apache-2.0
// The writing half of the SQLite store. Each function that changes it is one transaction.
#include <fmt/format.h>

#include <algorithm>

#include "cache/checksum.h"
#include "cache/clock.h"
#include "cache/sqlite_store.h"

namespace kiln {
namespace {

// What is merely worth doing does not hold its caller up for longer than this.
constexpr int kLittlePatienceMs = 50;
// What a put beyond the cap frees, so that the next ones need not: up to this share of the cap, and
// no more entries than this beyond those that it must.
constexpr std::uint64_t kEvictedShare = 16;
constexpr std::int64_t kEvictedMore = 64;
// More than any put must evict, unless the cap was lowered: then each does its part.
constexpr std::int64_t kEvictedByPutMax = 4096;

constexpr const char* kMarkUsed =
    "UPDATE entry SET last_used_us = max(last_used_us, ?2) WHERE id = ?1";
constexpr const char* kLatestUse = "SELECT max(last_used_us) FROM entry";
constexpr const char* kAddHits = "UPDATE totals SET hits = hits + ?1";
constexpr const char* kRemoveKey = "DELETE FROM entry WHERE request = ?1 AND toolchain = ?2";
constexpr const char* kAddEntry = R"sql(
INSERT INTO entry(request, toolchain, label, payload_bytes, size_bytes, created_us, last_used_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
RETURNING id
)sql";
constexpr const char* kAddContent =
    "INSERT INTO content(id, record, info, checksum, payload) VALUES (?1, ?2, ?3, ?4, ?5)";
constexpr const char* kCountPut = "UPDATE totals SET puts = puts + 1";
constexpr const char* kRemoveId = "DELETE FROM entry WHERE id = ?1";
constexpr const char* kIdOfKey = "SELECT id FROM entry WHERE request = ?1 AND toolchain = ?2";
constexpr const char* kNoteQuarantine = R"sql(
INSERT INTO quarantine(request, toolchain, label, reason, at_us)
SELECT request, toolchain, label, ?2, ?3 FROM entry WHERE id = ?1
)sql";
constexpr const char* kCountRejected = "UPDATE totals SET rejected = rejected + 1";
constexpr const char* kTrimQuarantine =
    "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - 256";

std::uint64_t size_of(const StoreEntry& entry) {
  return entry.payload.size() + entry.record.size() + entry.label.size() + entry.info.size();
}

}  // namespace

Result<void> SqliteStore::write(Patience patience, const Body& body) {
  if (mode_ != OpenMode::read_write) {
    return fail(ErrorCode::cache_failed,
                fmt::format("cache '{}': it is open for reading only{}", file_.string(),
                            options_.access == StoreAccess::read_write
                                ? ", since its folder cannot be written"
                                : ""));
  }
  database_->set_busy_timeout(patience == Patience::full
                                  ? options_.busy_timeout_ms
                                  : std::min(options_.busy_timeout_ms, kLittlePatienceMs));
  const auto run = [&]() -> Result<void> {
    KILN_TRY_ASSIGN(WriteTransaction transaction, WriteTransaction::begin(*database_));
    KILN_TRY(write_pending());
    KILN_TRY(body());
    return transaction.commit();
  };
  Result<void> result = run();
  if (result) pending_ = {};
  database_->set_busy_timeout(options_.busy_timeout_ms);
  return result;
}

std::int64_t SqliteStore::next_use_us() {
  return latest_use_us_ = std::max(now_us(), latest_use_us_ + 1);
}

Result<void> SqliteStore::write_pending() {
  KILN_TRY_ASSIGN(const std::int64_t stored, database_->integer(kLatestUse));
  // Later uses than now: the clock was set back. What is used now must not be the first to be
  // evicted, so these uses, in their order, follow those.
  std::int64_t later_us = 0;
  if (stored > now_us()) {
    for (const auto& [id, used_us] : pending_.last_used_us) {
      later_us = std::max(later_us, stored + 1 - used_us);
    }
  }
  for (const auto& [id, used_us] : pending_.last_used_us) {
    KILN_TRY(Query(*database_, kMarkUsed).bind(id).bind(used_us + later_us).run());
  }
  latest_use_us_ = std::max(latest_use_us_ + later_us, stored);
  if (pending_.hits > 0) KILN_TRY(Query(*database_, kAddHits).bind(pending_.hits).run());
  return write_tallies();
}

Result<void> SqliteStore::flush() {
  return run([&]() -> Result<void> {
    if (pending_.empty()) return {};
    return write(Patience::full, [] { return Result<void>(); });
  });
}

Result<void> SqliteStore::put(const Key& key, const StoreEntry& entry) {
  if (size_of(entry) > options_.size_bytes_max) {
    return fail(ErrorCode::cache_failed,
                fmt::format("cache '{}': an entry of {} bytes does not fit into a cache of {} "
                            "bytes; raise KILN_CACHE_SIZE",
                            file_.string(), size_of(entry), options_.size_bytes_max));
  }
  return run([&] {
    has_put_ = true;
    return write(Patience::full, [&] { return replace(key, entry); });
  });
}

Result<void> SqliteStore::replace(const Key& key, const StoreEntry& entry) {
  const Checksum checksum = checksum_of(key, entry.label, entry.record, entry.info, entry.payload);
  KILN_TRY(Query(*database_, kRemoveKey).bind(key.request.bytes).bind(key.toolchain.bytes).run());
  std::int64_t id = 0;
  {
    Query add(*database_, kAddEntry);
    add.bind(key.request.bytes).bind(key.toolchain.bytes).bind(entry.label);
    add.bind(static_cast<std::int64_t>(entry.payload.size()));
    add.bind(static_cast<std::int64_t>(size_of(entry))).bind(now_us()).bind(next_use_us());
    KILN_TRY(add.next());
    id = add.integer(0);
    KILN_TRY(add.run());
  }
  Query content(*database_, kAddContent);
  content.bind(id).bind(entry.record).bind(entry.info).bind(checksum).bind(entry.payload);
  KILN_TRY(content.run());
  KILN_TRY(Query(*database_, kCountPut).run());
  return make_room(id);
}

Result<void> SqliteStore::make_room(std::int64_t kept_id) {
  const std::uint64_t cap = options_.size_bytes_max;
  KILN_TRY_ASSIGN(const Eviction needed, evict(cap, kEvictedByPutMax, kept_id));
  if (needed.entries == 0) return {};
  KILN_TRY(evict(cap - cap / kEvictedShare, kEvictedMore, kept_id));
  return {};
}

Result<void> SqliteStore::quarantine(const Key& key, std::string_view reason) {
  return run([&] {
    return write(Patience::full, [&]() -> Result<void> {
      std::int64_t id = 0;
      {
        Query query(*database_, kIdOfKey);
        query.bind(key.request.bytes).bind(key.toolchain.bytes);
        KILN_TRY_ASSIGN(const bool found, query.next());
        if (!found) return {};
        id = query.integer(0);
      }
      return move_to_quarantine(id, reason);
    });
  });
}

Result<void> SqliteStore::move_to_quarantine(std::int64_t id, std::string_view reason) {
  KILN_TRY(Query(*database_, kNoteQuarantine).bind(id).bind(reason).bind(now_us()).run());
  // Another process has removed and counted it.
  if (sqlite3_changes(database_->get()) == 0) return {};
  KILN_TRY(Query(*database_, kRemoveId).bind(id).run());
  KILN_TRY(Query(*database_, kCountRejected).run());
  return Query(*database_, kTrimQuarantine).run();
}

}  // namespace kiln
