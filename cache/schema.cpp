// SPDX-License-Identifier: Apache-2.0
#include "cache/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "cache/layer_file.h"
#include "cache/upgrade.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A row of `entry` is small and written on each use; what it stands for lies in `content`, which is
// written once. AUTOINCREMENT: an id is never given to another entry, so that who holds one (a
// pending last-used time, a rejection) cannot hit the wrong one. The triggers keep the totals right
// whoever inserts or deletes, so that the byte cap needs no scan.
constexpr const char* kTables = R"sql(
CREATE TABLE entry(
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  request       BLOB NOT NULL CHECK(length(request) = 32),
  toolchain     BLOB NOT NULL CHECK(length(toolchain) = 32),
  label         TEXT NOT NULL,
  payload_bytes INTEGER NOT NULL,
  size_bytes    INTEGER NOT NULL,
  created_us    INTEGER NOT NULL,
  last_used_us  INTEGER NOT NULL,
  UNIQUE(request, toolchain)
) STRICT;
CREATE INDEX entry_by_use ON entry(last_used_us);
CREATE INDEX entry_by_label ON entry(label);

CREATE TABLE content(
  id       INTEGER PRIMARY KEY REFERENCES entry(id) ON DELETE CASCADE,
  record   TEXT NOT NULL,
  info     TEXT NOT NULL,
  checksum BLOB NOT NULL,
  payload  BLOB NOT NULL
) STRICT;

CREATE TABLE quarantine(
  id        INTEGER PRIMARY KEY,
  request   BLOB NOT NULL,
  toolchain BLOB NOT NULL,
  label     TEXT NOT NULL,
  reason    TEXT NOT NULL,
  at_us     INTEGER NOT NULL
) STRICT;

CREATE TABLE totals(
  only_row      INTEGER PRIMARY KEY CHECK(only_row = 1),
  entries       INTEGER NOT NULL DEFAULT 0,
  payload_bytes INTEGER NOT NULL DEFAULT 0,
  size_bytes    INTEGER NOT NULL DEFAULT 0,
  hits          INTEGER NOT NULL DEFAULT 0,
  puts          INTEGER NOT NULL DEFAULT 0,
  rejected      INTEGER NOT NULL DEFAULT 0,
  evicted       INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO totals(only_row) VALUES (1);

CREATE TABLE tally(
  op         TEXT NOT NULL,
  arch       TEXT NOT NULL,
  compiler   TEXT NOT NULL,
  tier       TEXT NOT NULL,
  uses       INTEGER NOT NULL,
  compile_us INTEGER NOT NULL,
  PRIMARY KEY(op, arch, compiler, tier)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entry_added AFTER INSERT ON entry BEGIN
  UPDATE totals SET entries = entries + 1,
                    payload_bytes = payload_bytes + new.payload_bytes,
                    size_bytes = size_bytes + new.size_bytes;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entry BEGIN
  UPDATE totals SET entries = entries - 1,
                    payload_bytes = payload_bytes - old.payload_bytes,
                    size_bytes = size_bytes - old.size_bytes;
END;
)sql";

// A log of at most 4 MiB: reading it back after a kill is what a process waits for when it opens.
// Zeroing what is deleted would write every evicted byte once more; nothing here is secret.
constexpr const char* kWalSettings = R"sql(
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 1024;
PRAGMA journal_size_limit = 4194304;
PRAGMA mmap_size = 1099511627776;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = OFF;
)sql";
// What is in the file is not trusted further than it must be: a page is checked before it is used,
// and no statement can damage the file, not even one that a damaged schema brings along.
constexpr const char* kDefensiveSettings = R"sql(
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
)sql";
// No memory map, whose reader dies when another machine makes the file shorter.
constexpr const char* kCarefulSettings = R"sql(
PRAGMA synchronous = FULL;
PRAGMA mmap_size = 0;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = OFF;
)sql";

// Nobody writes it, so the map cannot become shorter than the file; over a network it could.
constexpr const char* kLocalLayerSettings = "PRAGMA mmap_size = 1099511627776";
constexpr const char* kNetworkLayerSettings = "PRAGMA mmap_size = 0";
// The file can become shorter only if it is made so that pages can be moved.
constexpr const char* kPageSettings = "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL";
static_assert(kPageBytes == 4096);

enum class Content { empty, store };

bool is_readable(std::int64_t version, OpenMode mode) {
  return version == kSchemaVersion ||
         (mode == OpenMode::layer && version == kPreviousSchemaVersion);
}

// What tells a store from an empty file and from another program's database.
struct Marks {
  std::int64_t objects = 0;
  std::int64_t application = 0;
  std::int64_t version = 0;
};

Result<Marks> read_marks_in_transaction(Database& database) {
  KILN_TRY_ASSIGN(const std::int64_t objects,
                  database.integer("SELECT count(*) FROM sqlite_schema"));
  KILN_TRY_ASSIGN(const std::int64_t application, database.integer("PRAGMA application_id"));
  KILN_TRY_ASSIGN(const std::int64_t version, database.integer("PRAGMA user_version"));
  return Marks{objects, application, version};
}

// In one transaction: another process may make the store now, and half of what it does would look
// like another program's database.
Result<Marks> read_marks(Database& database) {
  if (database.in_transaction()) return read_marks_in_transaction(database);
  KILN_TRY(database.run("BEGIN"));
  Result<Marks> marks = read_marks_in_transaction(database);
  if (database.in_transaction()) {  // SQLite has already rolled back after some errors
    sqlite3_exec(database.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return marks;
}

Result<Content> recognise(Database& database, const std::filesystem::path& file, OpenMode mode) {
  KILN_TRY_ASSIGN(const Marks marks, read_marks(database));
  const auto [objects, application, version] = marks;
  if (application == kApplicationId && is_readable(version, mode)) return Content::store;
  if (application == kApplicationId) {
    return fail(ErrorCode::cache_failed,
                fmt::format("cache '{}': it has schema {} and this Kiln reads schema {}; use the "
                            "Kiln that wrote it, or another KILN_CACHE_DIR",
                            file.string(), version, kSchemaVersion));
  }
  if (application == 0 && version == 0 && objects == 0) return Content::empty;
  return fail(ErrorCode::cache_failed,
              fmt::format("cache '{}': it is a database of another program; move it away or use "
                          "another KILN_CACHE_DIR",
                          file.string()));
}

Result<void> set_journal(Database& database, const std::filesystem::path& file,
                         FileSystemKind kind) {
  if (kind == FileSystemKind::local) {
    // A file system that cannot do it stays in its mode, which works as well.
    return database.run("PRAGMA journal_mode = WAL");
  }
  KILN_TRY_ASSIGN(const std::string mode, database.word("PRAGMA journal_mode = DELETE"));
  if (mode == "delete") return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("cache '{}': it is on a network file system in journal mode {}, and "
                          "another process uses it so",
                          file.string(), mode));
}

Result<void> write_tables(Database& database) {
  KILN_TRY(database.run(kTables));
  return database.run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                                  kApplicationId, kSchemaVersion)
                          .c_str());
}

Result<void> create_tables(Database& database, const std::filesystem::path& file) {
  KILN_TRY_ASSIGN(WriteTransaction transaction, WriteTransaction::begin(database));
  // Another process may have been first.
  KILN_TRY_ASSIGN(const Content content, recognise(database, file, OpenMode::read_write));
  if (content == Content::store) return {};
  KILN_TRY(write_tables(database));
  KILN_TRY(copy_previous_store(database, file.parent_path() / kPreviousStoreFileName));
  return transaction.commit();
}

Result<void> make_ready(Database& database, const std::filesystem::path& file, OpenMode mode,
                        FileSystemKind kind) {
  KILN_TRY(database.run(kDefensiveSettings));
  KILN_TRY_ASSIGN(const Content content, recognise(database, file, mode));
  const bool local = kind == FileSystemKind::local;
  if (mode != OpenMode::read_write) {
    // A cache in use looks empty as long as all of it is in the log.
    std::error_code none;
    if (mode == OpenMode::layer && std::filesystem::file_size(file, none) > 0 && !none) {
      KILN_TRY(check_is_sealed(database, file));
    }
    if (content == Content::empty) {
      return fail(ErrorCode::cache_failed,
                  fmt::format("cache '{}': it is empty and opened read-only", file.string()));
    }
    if (mode == OpenMode::layer) {
      return database.run(local ? kLocalLayerSettings : kNetworkLayerSettings);
    }
  } else {
    if (content == Content::empty) KILN_TRY(database.run(kPageSettings));
    KILN_TRY(set_journal(database, file, kind));
    if (content == Content::empty) KILN_TRY(create_tables(database, file));
  }
  const bool shared_memory_works = local && mode != OpenMode::frozen;
  return database.run(shared_memory_works ? kWalSettings : kCarefulSettings);
}

}  // namespace

Result<Database> open_store_file(const std::filesystem::path& file, OpenMode mode,
                                 FileSystemKind kind, int busy_timeout_ms, Database::Fault& fault) {
  fault = Database::Fault::other;
  const Clock::time_point deadline = Clock::now() + milliseconds(busy_timeout_ms);
  for (auto pause = milliseconds(1);; pause = std::min(2 * pause, milliseconds(50))) {
    KILN_TRY_ASSIGN(Database database, Database::open(file, mode, busy_timeout_ms));
    // Until it is known to be a store, not even its log is touched.
    database.set_checkpoint_on_close(CheckpointOnClose::no);
    sqlite3_db_config(database.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    const Result<void> ready = make_ready(database, file, mode, kind);
    fault = database.fault();
    if (ready) {
      database.set_checkpoint_on_close(CheckpointOnClose::yes);
      return database;
    }
    // SQLite answers a change of the journal mode, which a new file needs, with "busy" at once.
    if (fault != Database::Fault::busy || Clock::now() >= deadline) return fail(ready.error());
    std::this_thread::sleep_for(pause);
  }
}

Result<Database> create_private_store_file(const std::filesystem::path& file) {
  KILN_TRY_ASSIGN(Database database, Database::open(file, OpenMode::read_write, 0));
  KILN_TRY(database.run(kPageSettings));
  KILN_TRY(
      database.run("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; "
                   "PRAGMA main.locking_mode = EXCLUSIVE; PRAGMA foreign_keys = ON"));
  KILN_TRY(write_tables(database));
  return database;
}

Digest digest_from(ByteView blob) {
  Digest digest;
  std::memcpy(digest.bytes.data(), blob.data(), std::min(blob.size(), Digest::kSize));
  return digest;
}

}  // namespace kiln
