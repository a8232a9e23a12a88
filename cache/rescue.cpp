// SPDX-License-Identifier: Apache-2.0
#include "cache/rescue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "cache/checksum.h"
#include "cache/clock.h"
#include "cache/damaged_copy.h"
#include "cache/schema.h"
#include "cache/sqlite.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

// Above every key's byte (cache/lease.cpp).
constexpr off_t kRescueByte = off_t{1} << 62;
constexpr std::int64_t kIdsPerBatch = 4096;
// How many ids are tried one by one where neither table says which there are: some seconds.
constexpr std::int64_t kGuessesMax = std::int64_t{1} << 20;

// NOT INDEXED: what is damaged may be an index.
constexpr const char* kIdsAfter = R"sql(
SELECT id FROM damaged.entry NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT ?2
)sql";
constexpr const char* kHasId = "SELECT 1 FROM damaged.entry NOT INDEXED WHERE id = ?1";
constexpr const char* kNextContent = "SELECT min(id) FROM damaged.content WHERE id > ?1";
constexpr const char* kRead = R"sql(
SELECT e.request, e.toolchain, e.label, c.record, c.info, c.checksum, c.payload
FROM damaged.entry e NOT INDEXED LEFT JOIN damaged.content c ON c.id = e.id
WHERE e.id = ?1
)sql";
constexpr const char* kRemoveSameKey =
    "DELETE FROM main.entry WHERE request = ?1 AND toolchain = ?2";
constexpr const char* kRemoveId = "DELETE FROM main.entry WHERE id = ?1";
constexpr const char* kCopyEntry =
    "INSERT INTO main.entry SELECT * FROM damaged.entry NOT INDEXED WHERE id = ?1";
constexpr const char* kCopyContent =
    "INSERT INTO main.content SELECT * FROM damaged.content WHERE id = ?1";
constexpr const char* kNoteLost = R"sql(
INSERT INTO main.quarantine(request, toolchain, label, reason, at_us)
VALUES (?1, ?2, ?3, 'lost when the damaged cache was rescued', ?4)
)sql";
constexpr const char* kKnownIds[] = {
    "SELECT seq FROM damaged.sqlite_sequence WHERE name = 'entry'",
    "SELECT max(id) FROM damaged.entry NOT INDEXED",
    "SELECT max(id) FROM damaged.content",
};

// Copies what is whole from `damaged` to `main` of one connection.
class Salvage {
 public:
  explicit Salvage(Database& database) : database_(database) {}

  const RescueReport& report() const { return report_; }

  // Every readable entry with an id above those that earlier calls have seen.
  Result<void> copy_new_entries() {
    // Not in one transaction: within one, SQLite takes the first damage that a read meets for a
    // reason to refuse every write after it.
    const std::int64_t highest = highest_id();
    for (;;) {
      std::vector<std::int64_t> ids;
      const Result<void> listed = list_ids(ids);
      for (const std::int64_t id : ids) {
        KILN_TRY(copy(id));
        last_seen_ = id;
      }
      if (listed && ids.empty()) break;
      if (listed) continue;
      KILN_TRY_ASSIGN(const bool more, copy_next_behind_damage(highest));
      if (!more) break;
    }
    return {};
  }

  // What is kept beside the entries: best effort.
  void copy_the_rest() {
    (void)database_.run("INSERT INTO main.quarantine SELECT * FROM damaged.quarantine");
    (void)database_.run("INSERT INTO main.tally SELECT * FROM damaged.tally");
    (void)database_.run(
        "UPDATE main.totals SET (hits, puts, rejected, evicted) = "
        "(SELECT hits, puts, rejected, evicted FROM damaged.totals) "
        "WHERE EXISTS (SELECT 1 FROM damaged.totals)");
  }

  Result<void> finish() {
    Query count(database_, "UPDATE main.totals SET rejected = rejected + ?1");
    KILN_TRY(count.bind(report_.lost).run());
    // An id is never given twice, not even one that was lost.
    Query sequence(database_,
                   "UPDATE main.sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'entry'");
    return sequence.bind(last_seen_).run();
  }

 private:
  Result<void> list_ids(std::vector<std::int64_t>& ids) {
    Query query(database_, kIdsAfter);
    query.bind(last_seen_).bind(kIdsPerBatch);
    Result<bool> row = query.next();
    for (; row && *row; row = query.next()) ids.push_back(query.integer(0));
    if (!row) return fail(row.error());
    return {};
  }

  // Copies the first entry after those that a damaged page hides. By its own id: a search from the
  // last hidden one would end on the damaged page again. False: there is none up to `highest`.
  Result<bool> copy_next_behind_damage(std::int64_t highest) {
    while (last_seen_ < highest) {
      const std::optional<std::int64_t> id = next_id();
      if (!id || *id > highest) return false;
      last_seen_ = *id;
      const Result<bool> found = Query(database_, kHasId).bind(*id).next();
      if (found && *found) {
        KILN_TRY(copy(*id));
        return true;
      }
      if (!found) ++report_.lost;
    }
    return false;
  }

  // The next id that there may be an entry of: as its content says, else the next number.
  std::optional<std::int64_t> next_id() {
    Query query(database_, kNextContent);
    const Result<bool> read = query.bind(last_seen_).next();
    if (read && query.integer(0) > last_seen_) return query.integer(0);
    if (read || guesses_left_ == 0) return std::nullopt;
    --guesses_left_;
    return last_seen_ + 1;
  }

  Result<void> copy(std::int64_t id) {
    Query query(database_, kRead);
    const Result<bool> found = query.bind(id).next();
    if (!found) {
      ++report_.lost;
      return {};
    }
    if (!*found) return {};
    if (!is_whole(query)) return note_lost(query);
    KILN_TRY(Query(database_, kRemoveSameKey).bind(query.blob(0)).bind(query.blob(1)).run());
    Result<void> copied = Query(database_, kCopyEntry).bind(id).run();
    if (copied) copied = Query(database_, kCopyContent).bind(id).run();
    if (!copied && database_.fault() != Database::Fault::damaged) return copied;
    if (!copied) {
      KILN_TRY(Query(database_, kRemoveId).bind(id).run());
      return note_lost(query);
    }
    ++report_.kept;
    return {};
  }

  static bool is_whole(const Query& row) {
    Key key;
    if (row.blob(0).size() != Digest::kSize || row.blob(1).size() != Digest::kSize) return false;
    std::memcpy(key.request.bytes.data(), row.blob(0).data(), Digest::kSize);
    std::memcpy(key.toolchain.bytes.data(), row.blob(1).data(), Digest::kSize);
    const Checksum expected = checksum_of(key, row.text(2), row.text(3), row.text(4), row.blob(6));
    const ByteView stored = row.blob(5);
    return std::equal(stored.begin(), stored.end(), expected.begin(), expected.end());
  }

  Result<void> note_lost(const Query& row) {
    ++report_.lost;
    Query note(database_, kNoteLost);
    return note.bind(row.blob(0)).bind(row.blob(1)).bind(row.text(2)).bind(now_us()).run();
  }

  std::int64_t highest_id() {
    std::int64_t highest = last_seen_;
    for (const char* const sql : kKnownIds) {
      const Result<std::int64_t> id = database_.integer(sql);
      if (id) highest = std::max(highest, *id);
    }
    return highest;
  }

  Database& database_;
  RescueReport report_;
  std::int64_t last_seen_ = 0;
  std::int64_t guesses_left_ = kGuessesMax;
};

// For reading what is damaged: every page is checked, none is mapped (a page beyond the end of a
// shortened file would end the process), and neither a shortened file nor a damaged schema is an
// error by itself.
constexpr const char* kDamagedSettings = R"sql(
PRAGMA writable_schema = ON;
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
PRAGMA mmap_size = 0;
)sql";

Result<void> attach(Database& database, const fs::path& file) {
  Query attach(database, "ATTACH ?1 AS damaged");
  const std::string name = file.string();
  KILN_TRY(attach.bind(std::string_view(name)).run());
  KILN_TRY(database.run("PRAGMA damaged.mmap_size = 0"));
  // Both tables must be known by name; whether their pages can be read is another matter.
  for (const char* const sql : {kHasId, kRead}) {
    if (sqlite3_stmt* prepared = nullptr;
        sqlite3_prepare_v2(database.get(), sql, -1, &prepared, nullptr) == SQLITE_OK) {
      sqlite3_finalize(prepared);
    } else {
      const Error error = database.error();
      (void)database.run("DETACH damaged");
      return fail(error);
    }
  }
  return {};
}

// The file that rescued entries are collected in, and what goes with it; removed at the end.
class Scratch {
 public:
  explicit Scratch(const fs::path& file)
      : fresh_(file.string() + "-rescue"), copy_(file.string() + "-rescue-copy") {
    remove();  // of a process that was killed
  }
  ~Scratch() { remove(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& fresh() const { return fresh_; }
  const fs::path& copy() const { return copy_; }

 private:
  void remove() {
    std::error_code ignored;
    fs::remove(fresh_, ignored);
    fs::remove(copy_, ignored);
  }
  const fs::path fresh_;
  const fs::path copy_;
};

// Writes the database of `from` over that of `to` in one transaction of `to`.
class Overwrite {
 public:
  Overwrite(Database& from, Database& to) : from_(from), to_(to) {
    // Learns whether there is a log; what is wrong with the file does not matter here.
    (void)to_.run("SELECT count(*) FROM sqlite_schema");
    reset_flag(1);
    backup_ = sqlite3_backup_init(to_.get(), "main", from_.get(), "main");
  }
  ~Overwrite() {
    if (backup_) sqlite3_backup_finish(backup_);
    reset_flag(0);
  }
  Overwrite(const Overwrite&) = delete;
  Overwrite& operator=(const Overwrite&) = delete;

  // From here on nobody else can write to the file.
  Result<void> lock() { return step(0); }
  Result<void> run() {
    KILN_TRY(step(-1));
    const int code = sqlite3_backup_finish(std::exchange(backup_, nullptr));
    if (code != SQLITE_OK) return fail(to_.error());
    return {};
  }

 private:
  // SQLite then takes the file for an empty one, whatever is in it.
  void reset_flag(int on) {
    sqlite3_db_config(to_.get(), SQLITE_DBCONFIG_RESET_DATABASE, on, nullptr);
  }
  Result<void> step(int pages) {
    if (!backup_) return fail(to_.error());
    const int code = sqlite3_backup_step(backup_, pages);
    if (code == SQLITE_OK || code == SQLITE_DONE) return {};
    return fail(ErrorCode::cache_failed,
                fmt::format("the damaged cache cannot be rewritten: {}", sqlite3_errstr(code)));
  }

  Database& from_;
  Database& to_;
  sqlite3_backup* backup_ = nullptr;
};

}  // namespace

Result<RescueLock> RescueLock::acquire(const fs::path& folder, int wait_ms_max) {
  const fs::path file = folder / "kernels.lock";
  Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = kRescueByte;
  range.l_len = 1;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms_max);
  while (!fd || fcntl(fd.get(), F_OFD_SETLK, &range) != 0) {
    const bool taken = fd && (errno == EAGAIN || errno == EACCES);
    if (!taken || std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::cache_failed,
                  fmt::format("the damaged cache beside '{}' cannot be rescued: {}", file.string(),
                              taken ? "another process is at it" : std::strerror(errno)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return RescueLock(std::move(fd));
}

Result<RescueReport> rescue_store_file(const fs::path& file, int busy_timeout_ms) {
  const Scratch scratch(file);
  KILN_TRY_ASSIGN(Database live, Database::open(file, OpenMode::read_write, busy_timeout_ms));
  live.set_checkpoint_on_close(CheckpointOnClose::no);
  KILN_TRY(live.run(kDamagedSettings));
  KILN_TRY(check_bears_signs_of_a_store(live));

  KILN_TRY_ASSIGN(Database fresh, create_private_store_file(scratch.fresh()));
  KILN_TRY(fresh.run(kDamagedSettings));
  fresh.set_checkpoint_on_close(CheckpointOnClose::no);
  const bool reads_live = attach(fresh, file).has_value();
  if (!reads_live) {
    KILN_TRY(copy_with_first_page(live, fresh, scratch.copy()));
    KILN_TRY(attach(fresh, scratch.copy()));
  }
  Salvage salvage(fresh);
  salvage.copy_the_rest();
  KILN_TRY(salvage.copy_new_entries());
  Overwrite overwrite(fresh, live);
  KILN_TRY(overwrite.lock());
  // What others have put since then.
  if (reads_live) KILN_TRY(salvage.copy_new_entries());
  KILN_TRY(salvage.finish());
  KILN_TRY(overwrite.run());
  return salvage.report();
}

}  // namespace kiln
