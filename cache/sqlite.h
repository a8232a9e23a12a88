// SPDX-License-Identifier: Apache-2.0
// Owners of SQLite's handles, and its errors in one line.
//
// A Database and what was prepared from it are used by one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "jit/base/bytes.h"
#include "jit/base/handle.h"
#include "jit/base/result.h"
#include "jit/base/unfilled_bytes.h"

namespace kiln {

enum class OpenMode {
  read_write,  // creates the file where it is missing
  read_only,   // next to other processes that write
  frozen,      // where nobody can write: takes no lock and makes no file beside the database
  layer,       // a file that never changes; its log, if it has one, is not looked at
};

enum class CheckpointOnClose { no, yes };

class Database {
 public:
  // A lock that somebody else holds is waited for up to `busy_timeout_ms`.
  // Errors: cache_failed. SQLite opens lazily: whether it is a database shows at the first use.
  static Result<Database> open(const std::filesystem::path& file, OpenMode mode,
                               int busy_timeout_ms);

  sqlite3* get() const { return handle_.get(); }

  // Runs statements without parameters, ignoring what they return.
  Result<void> run(const char* sql);
  // The first column of the first row; `sql` as in Query.
  Result<std::int64_t> integer(const char* sql);
  Result<std::string> word(const char* sql);
  // The bytes at `offset` of the file, through SQLite's own descriptor: closing another one would
  // drop its locks.
  Result<void> read_file(std::int64_t offset, std::span<std::byte> bytes);

  // Reads column `column` of the row `id` of `table` straight into `bytes`; a statement would copy
  // it on the way. False, with nothing read: there is no blob of `size` bytes. In the transaction
  // of a Query that has a row, it reads what that sees.
  Result<bool> read_blob(const char* table, const char* column, std::int64_t id, std::int64_t size,
                         UnfilledBytes& bytes);

  // SQLite's last error as an Error: "cache '<file>': <reason>".
  Error error();
  // What kind the error last returned was.
  enum class Fault {
    none,
    busy,     // somebody else holds a lock
    damaged,  // the file contradicts itself: what is in it cannot be reached, or not by this way
    other,
  };
  Fault fault() const { return fault_; }
  void forget_fault() { fault_ = Fault::none; }
  void set_busy_timeout(int timeout_ms);
  bool in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }
  // Closing the last connection moves the write-ahead log into the database, which takes a moment.
  void set_checkpoint_on_close(CheckpointOnClose choice);

 private:
  struct Traits {
    static constexpr sqlite3* kNone = nullptr;
    static void close(sqlite3* handle) { sqlite3_close_v2(handle); }
  };
  struct StatementTraits {
    static constexpr sqlite3_stmt* kNone = nullptr;
    static void close(sqlite3_stmt* statement) { sqlite3_finalize(statement); }
  };
  using Statement = UniqueHandle<sqlite3_stmt*, StatementTraits>;

  friend class Query;
  Result<sqlite3_stmt*> statement(const char* sql);

  Database(UniqueHandle<sqlite3*, Traits> handle, const std::filesystem::path& file)
      : handle_(std::move(handle)), file_(file.string()) {}

  UniqueHandle<sqlite3*, Traits> handle_;
  // By the address of their text; prepared when first run, since most processes run only one.
  std::unordered_map<const char*, Statement> statements_;
  std::string file_;
  int busy_timeout_ms_ = 0;
  Fault fault_ = Fault::none;
};

// One run of a statement: its parameters in order, then its rows. What is bound, and what a column
// returns as a view, is not copied: it must live, or lives, until the next row or the Query's end.
class Query {
 public:
  // `sql` is a string constant: the statement prepared from it is kept. An error in it is returned
  // by next() and run().
  Query(Database& database, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(std::int64_t value);
  Query& bind(std::string_view text);
  Query& bind(ByteView blob);
  Query& bind(std::string&& temporary) = delete;

  // Whether there is a row (or another one).
  Result<bool> next();
  // Runs a statement that returns no rows to its end.
  Result<void> run();

  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string_view text(int column) const;
  ByteView blob(int column) const;

 private:
  Query& check_bind(int code);

  Database* database_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
  std::optional<Error> error_;
};

// A write transaction; rolled back on destruction unless committed. It takes the write lock when it
// begins: one that reads first and writes later fails as busy, however long it would wait.
class WriteTransaction {
 public:
  static Result<WriteTransaction> begin(Database& database);
  WriteTransaction(WriteTransaction&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)) {}
  WriteTransaction& operator=(WriteTransaction&&) = delete;
  ~WriteTransaction();

  Result<void> commit();

 private:
  explicit WriteTransaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace kiln
