// SPDX-License-Identifier: Apache-2.0
#include "cache/sqlite.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace kiln {
namespace {

struct BlobTraits {
  static constexpr sqlite3_blob* kNone = nullptr;
  static void close(sqlite3_blob* blob) { sqlite3_blob_close(blob); }
};
using Blob = UniqueHandle<sqlite3_blob*, BlobTraits>;

// SQLite reads a frozen database by one of two ways. "immutable" ignores without a word what is
// still in the write-ahead log, and the other one wants there to be a log.
std::string unlocked_uri(const std::filesystem::path& file, OpenMode mode) {
  std::string uri = "file:";
  for (const char c : file.string()) {
    if (c == '%' || c == '?' || c == '#') {
      uri += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    } else {
      uri += c;
    }
  }
  if (mode == OpenMode::layer) return uri + "?immutable=1";
  std::error_code none;
  const auto log_bytes = std::filesystem::file_size(file.string() + "-wal", none);
  return uri + (none || log_bytes == 0 ? "?immutable=1" : "?vfs=unix-none");
}

bool is_disk_full(int code, int system_error) {
  return (code & 0xff) == SQLITE_FULL ||
         ((code & 0xff) == SQLITE_IOERR && (system_error == ENOSPC || system_error == EDQUOT));
}

bool is_busy(int code) {
  const int primary = code & 0xff;
  return primary == SQLITE_BUSY || primary == SQLITE_LOCKED || primary == SQLITE_PROTOCOL;
}

// A healthy store answers none of its own constant statements with an error of grammar or of a
// constraint: those are a damaged schema, or an index and a table that disagree.
bool is_damage(int code) {
  if (code == SQLITE_IOERR_SHORT_READ) return true;
  const int primary = code & 0xff;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR ||
         primary == SQLITE_CONSTRAINT || primary == SQLITE_MISMATCH;
}

Database::Fault fault_of(int code) {
  if (is_busy(code)) return Database::Fault::busy;
  return is_damage(code) ? Database::Fault::damaged : Database::Fault::other;
}

// SQLite keeps no system error of a COMMIT that failed; the operating system still has it.
int system_error_of(sqlite3* handle) {
  if (const int kept = sqlite3_system_errno(handle)) return kept;
  sqlite3_vfs* vfs = nullptr;
  sqlite3_file_control(handle, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  return vfs && vfs->xGetLastError ? vfs->xGetLastError(vfs, 0, nullptr) : 0;
}

std::string reason_of(sqlite3* handle, int busy_timeout_ms) {
  const int code = sqlite3_extended_errcode(handle);
  const int system_error = system_error_of(handle);
  const auto with_system_error = [&](std::string_view text) {
    return system_error ? fmt::format("{}: {}", text, std::strerror(system_error))
                        : std::string(text);
  };
  if (is_disk_full(code, system_error)) return "the disk is full; free some space";
  if (is_busy(code)) {
    return fmt::format("busy: another process kept it locked for more than {} ms", busy_timeout_ms);
  }
  switch (code & 0xff) {
    case SQLITE_READONLY:
      return "it is read-only";
    case SQLITE_CANTOPEN:
      return with_system_error("cannot be opened");
    case SQLITE_IOERR:
      return with_system_error(fmt::format("input/output error {}", code));
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return fmt::format(
          "it is no Kiln cache, or damaged ({}); it is left as it is: move it away "
          "and the next run makes a new one",
          sqlite3_errmsg(handle));
    default:
      return fmt::format("{} ({})", sqlite3_errmsg(handle), sqlite3_errstr(code));
  }
}

}  // namespace

Result<Database> Database::open(const std::filesystem::path& file, OpenMode mode,
                                int busy_timeout_ms) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
  flags |= mode == OpenMode::read_write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                        : SQLITE_OPEN_READONLY;
  std::string name = file.string();
  if (mode == OpenMode::frozen || mode == OpenMode::layer) {
    name = unlocked_uri(file, mode);
    flags |= SQLITE_OPEN_URI;
  }
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  // SQLite returns a handle with the error text even where it fails.
  Database database(UniqueHandle<sqlite3*, Traits>(handle), file);
  if (!handle) return fail(ErrorCode::out_of_memory, "no memory to open the cache");
  if (code != SQLITE_OK) return fail(database.error());
  database.set_busy_timeout(busy_timeout_ms);
  // The index of the log is then kept in memory of our own, where else it is a file.
  if (mode == OpenMode::frozen) KILN_TRY(database.run("PRAGMA locking_mode = EXCLUSIVE"));
  return database;
}

Result<void> Database::run(const char* sql) {
  if (sqlite3_exec(get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return fail(error());
  return {};
}

Result<std::int64_t> Database::integer(const char* sql) {
  Query query(*this, sql);
  KILN_TRY(query.next());
  return query.integer(0);
}

Result<std::string> Database::word(const char* sql) {
  Query query(*this, sql);
  KILN_TRY(query.next());
  return std::string(query.text(0));
}

Result<void> Database::read_file(std::int64_t offset, std::span<std::byte> bytes) {
  sqlite3_file* descriptor = nullptr;
  if (sqlite3_file_control(get(), "main", SQLITE_FCNTL_FILE_POINTER, &descriptor) != SQLITE_OK ||
      !descriptor->pMethods ||
      descriptor->pMethods->xRead(descriptor, bytes.data(), static_cast<int>(bytes.size()),
                                  offset) != SQLITE_OK) {
    return fail(ErrorCode::cache_failed, fmt::format("cache '{}': it cannot be read", file_));
  }
  return {};
}

Result<bool> Database::read_blob(const char* table, const char* column, std::int64_t id,
                                 std::int64_t size, UnfilledBytes& bytes) {
  sqlite3_blob* opened = nullptr;
  const int code = sqlite3_blob_open(get(), "main", table, column, id, 0, &opened);
  const Blob blob(opened);
  // No such row, or what is there is no blob.
  if ((code & 0xff) == SQLITE_ERROR) return false;
  if (code != SQLITE_OK) return fail(error());
  // Before memory is taken: a damaged row may claim any size.
  const int there = sqlite3_blob_bytes(opened);
  if (there != size) return false;
  bytes.resize(static_cast<std::size_t>(there));
  if (sqlite3_blob_read(opened, bytes.data(), there, 0) != SQLITE_OK) return fail(error());
  return true;
}

Error Database::error() {
  fault_ = fault_of(sqlite3_extended_errcode(get()));
  return {ErrorCode::cache_failed,
          fmt::format("cache '{}': {}", file_, reason_of(get(), busy_timeout_ms_)),
          {}};
}

void Database::set_busy_timeout(int timeout_ms) {
  busy_timeout_ms_ = timeout_ms;
  sqlite3_busy_timeout(get(), timeout_ms);
}

void Database::set_checkpoint_on_close(CheckpointOnClose choice) {
  const int no = choice == CheckpointOnClose::no ? 1 : 0;
  sqlite3_db_config(get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, no, nullptr);
}

Result<sqlite3_stmt*> Database::statement(const char* sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) return found->second.get();
  sqlite3_stmt* prepared = nullptr;
  if (sqlite3_prepare_v3(get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr) !=
      SQLITE_OK) {
    return fail(error());
  }
  statements_.emplace(sql, Statement(prepared));
  return prepared;
}

Query::Query(Database& database, const char* sql) : database_(&database), statement_(nullptr) {
  Result<sqlite3_stmt*> statement = database.statement(sql);
  if (statement) {
    statement_ = *statement;
  } else {
    error_ = std::move(statement).error();
  }
}

Query::~Query() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::check_bind(int code) {
  if (code != SQLITE_OK && !error_) error_ = database_->error();
  return *this;
}

Query& Query::bind(std::int64_t value) {
  return check_bind(sqlite3_bind_int64(statement_, ++bound_, value));
}

Query& Query::bind(std::string_view text) {
  // A null pointer would bind NULL in place of an empty text.
  const char* data = text.empty() ? "" : text.data();
  return check_bind(
      sqlite3_bind_text64(statement_, ++bound_, data, text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

Query& Query::bind(ByteView blob) {
  const void* data = blob.empty() ? static_cast<const void*>("") : blob.data();
  return check_bind(sqlite3_bind_blob64(statement_, ++bound_, data, blob.size(), SQLITE_STATIC));
}

Result<bool> Query::next() {
  if (error_) return fail(*error_);
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return fail(database_->error());
  }
}

Result<void> Query::run() {
  KILN_TRY(next());
  return {};
}

std::string_view Query::text(int column) const {
  return as_text(blob(column));
}

ByteView Query::blob(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
}

Result<WriteTransaction> WriteTransaction::begin(Database& database) {
  KILN_TRY(database.run("BEGIN IMMEDIATE"));
  return WriteTransaction(database);
}

WriteTransaction::~WriteTransaction() {
  // SQLite has already rolled back after some errors, such as a full disk.
  if (database_ && database_->in_transaction()) {
    sqlite3_exec(database_->get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

Result<void> WriteTransaction::commit() {
  KILN_TRY(database_->run("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace kiln
