// SPDX-License-Identifier: Apache-2.0
// The connection of a store: when it is opened, closed and opened anew, and what is done about a
// file that is damaged or no longer there.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/rescue.h"
#include "cache/schema.h"
#include "cache/sqlite_store.h"

namespace kiln {
namespace {

// Moving the log into the database waits for the disk, some 10 ms: too much for each process that
// only had hits. Left there, a log of this size costs the next process some 0.05 ms.
constexpr std::uintmax_t kLogBytesLeft = 128 << 10;

std::uintmax_t log_bytes(const std::filesystem::path& file) {
  std::error_code none;
  const std::uintmax_t size = std::filesystem::file_size(file.string() + "-wal", none);
  return none ? 0 : size;
}

}  // namespace

SqliteStore::~SqliteStore() {
  if (process_ != getpid()) {
    // The parent's: closing it would drop the parent's locks.
    if (database_) [[maybe_unused]]
      auto* const leaked = new Database(std::move(*database_));
    return;
  }
  // Closed here, since from the end of this function on nothing closes it before a fork.
  const std::lock_guard lock(mutex_);
  if (!database_) return;
  if (!is_the_opened_file(Look::name)) {
    close_database();
    return;
  }
  if (!pending_.empty()) (void)write(Patience::little, [] { return Result<void>(); });
  if (!has_put_ && log_bytes(file_) < kLogBytesLeft) {
    database_->set_checkpoint_on_close(CheckpointOnClose::no);
  }
  database_.reset();
}

ForkHooks SqliteStore::fork_hooks() {
  return {[this] {
            mutex_.lock();
            close_database();
          },
          [this](ForkSide side) {
            if (side == ForkSide::child) {
              process_ = getpid();
              pending_ = {};  // the parent writes it
            }
            mutex_.unlock();
          }};
}

Result<std::unique_lock<std::mutex>> SqliteStore::enter() {
  KILN_TRY(check_process());
  std::unique_lock lock(mutex_);
  KILN_TRY(ensure_open());
  return lock;
}

Result<void> SqliteStore::check_process() const {
  if (process_ == getpid()) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("cache '{}': this process was forked without fork()'s handlers, so it "
                          "cannot use its parent's cache",
                          file_.string()));
}

Result<void> SqliteStore::ensure_open(Look look) {
  fault_at_open_ = Database::Fault::none;
  if (database_ && !is_the_opened_file(look)) {
    close_database();
    pending_ = {};  // its ids are those of another file
    // Whoever put another one there is asked what any file is asked.
    KILN_TRY(trusted_folder(options_.folder, options_.access));
    KILN_TRY(check_trusted_file(file_, options_.access));
  }
  if (database_) return {};
  return open_database();
}

Result<void> SqliteStore::open_database() {
  KILN_TRY_ASSIGN(database_,
                  open_store_file(file_, mode_, kind_, options_.busy_timeout_ms, fault_at_open_));
  opened_ = {};
  opened_path_ = Fd(::open(file_.c_str(), O_PATH | O_CLOEXEC));
  struct stat status;
  if (fstat(opened_path_.get(), &status) == 0) {
    opened_ = {status.st_dev, status.st_ino, status.st_size};
  }
  return {};
}

void SqliteStore::close_database() {
  if (database_) database_->set_checkpoint_on_close(CheckpointOnClose::no);
  database_.reset();
  opened_path_.reset();
}

// A memory map of a file that somebody made shorter ends the process when it is read, and SQLite
// looks at the size no more than at the name. (A rewrite by SQLite may make it shorter, too: then
// it is opened once more than it must be.)
bool SqliteStore::is_the_opened_file(Look look) {
  struct stat status;
  if (look == Look::descriptor) {
    if (fstat(opened_path_.get(), &status) != 0 || status.st_nlink == 0) return false;
  } else if (stat(file_.c_str(), &status) != 0) {
    return false;
  }
  if (status.st_dev != opened_.device || status.st_ino != opened_.inode) return false;
  if (status.st_size < opened_.size_bytes) return false;
  opened_.size_bytes = status.st_size;
  return true;
}

Result<void> SqliteStore::run(const Body& body, Look look) {
  KILN_TRY(check_process());
  const std::lock_guard lock(mutex_);
  Result<void> result = ensure_open(look);
  bool damaged = fault_at_open_ == Database::Fault::damaged;
  if (result) {
    database_->forget_fault();
    result = body();
    damaged = database_->fault() == Database::Fault::damaged;
  }
  if (result || !damaged) return result;
  return run_on_rescued(std::move(result), body);
}

Result<void> SqliteStore::run_on_rescued(Result<void> failed, const Body& body) {
  if (mode_ != OpenMode::read_write || kind_ != FileSystemKind::local) return failed;
  close_database();
  const auto alone = RescueLock::acquire(file_.parent_path(), options_.busy_timeout_ms);
  if (!alone) return fail(alone.error());
  for (const bool rescued : {false, true}) {
    // First without: another process may have done it, or only this connection was astray.
    if (rescued) KILN_TRY(rescue());
    failed = open_database();
    bool damaged = fault_at_open_ == Database::Fault::damaged;
    if (failed) {
      failed = body();
      damaged = database_->fault() == Database::Fault::damaged;
    }
    if (failed || !damaged) return failed;
    close_database();
  }
  return failed;
}

Result<void> SqliteStore::rescue() {
  if (rescues_left_ == 0) {
    return fail(
        ErrorCode::cache_failed,
        fmt::format("cache '{}': it is damaged again and again; move it away", file_.string()));
  }
  --rescues_left_;
  const auto report = rescue_store_file(file_, options_.busy_timeout_ms);
  if (!report) {
    return fail(
        ErrorCode::cache_failed,
        fmt::format("cache '{}': it is no Kiln cache, or damaged; it is left as it is, move "
                    "it away and the next run makes a new one ({})",
                    file_.string(), report.error().message));
  }
  rescue_note_ = fmt::format("cache '{}': it was damaged; {} entries are kept, {} are lost",
                             file_.string(), report->kept, report->lost);
  return {};
}

}  // namespace kiln
