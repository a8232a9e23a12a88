// SPDX-License-Identifier: Apache-2.0
// The Store over SQLite: one connection behind one mutex.
//
// No connection is ever open across fork(). SQLite keeps per process which locks it holds; a child
// that inherited a connection, even one it never touches, would take its parent's locks for its own
// and lose data. So the connection is closed before fork() and both sides open their own when they
// next need it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <mutex>
#include <optional>
#include <type_traits>
#include <unordered_map>

#include "cache/folder.h"
#include "cache/fork.h"
#include "cache/sqlite.h"
#include "cache/store.h"
#include "jit/base/handle.h"

namespace kiln {

class SqliteStore final : public Store {
 public:
  // `options.folder` is as trusted_folder() returns it; `kind` is the kind of its file system.
  static Result<std::unique_ptr<Store>> open(const StoreOptions& options, FileSystemKind kind);
  ~SqliteStore() override;

  StoreLookup find(const Key& key, std::string_view record) override;
  StoreLookup find_newest(const Digest& request, const Record& request_record) override;
  Result<void> put(const Key& key, const StoreEntry& entry) override;
  Result<void> quarantine(const Key& key, std::string_view reason) override;
  Result<std::optional<ExaminedEntry>> walk(std::int64_t after_id) override;
  Result<std::optional<ExaminedEntry>> look(const Key& key) override;
  Result<StorePage> page(const StoreFilter& filter, const StoreCursor& after) override;
  Result<std::vector<StoreRow>> near_label(std::string_view label, std::int64_t count) override;
  Result<StoreTotals> totals() override;
  void note(const StoreTally& tally) override;
  Result<std::vector<StoreTally>> tallies() override;
  Result<GarbageReport> collect_garbage(std::uint64_t size_bytes_max,
                                        const GarbageProgress& progress) override;
  Result<void> seal() override;
  Result<void> flush() override;
  const std::filesystem::path& file() const override { return file_; }

 private:
  // An entry as read, not yet checked.
  struct UncheckedEntry;

  // What hits leave to be written, and when.
  struct Pending {
    std::unordered_map<std::int64_t, std::int64_t> last_used_us;  // by entry id
    std::int64_t hits = 0;
    std::vector<StoreTally> tallies;  // one per kind
    bool empty() const { return hits == 0 && tallies.empty(); }
  };
  struct Eviction {
    std::int64_t entries = 0;
    std::uint64_t size_bytes = 0;  // of what is left
  };

  // How long to wait for a lock: as the caller said, or hardly, for what can be done another time.
  enum class Patience { full, little };
  // What is asked about the file before a use. `descriptor`: whether the one that was opened still
  // has a name and its length, in a third of the time; one that was only moved away goes on
  // serving what it has. `name`: also whether it is the one of this name.
  enum class Look { descriptor, name };

  SqliteStore(const StoreOptions& options, FileSystemKind kind, OpenMode mode);
  ForkHooks fork_hooks();

  using Body = std::function<Result<void>()>;
  // Locks the store and opens its connection where there is none, or where the file is no longer
  // the one that was opened. What follows needs that lock where it does not take it itself.
  Result<std::unique_lock<std::mutex>> enter();
  // Enters and runs `body`. Where the file turns out to be damaged it is rescued, and `body` runs
  // once more.
  Result<void> run(const Body& body, Look look = Look::name);
  // run() for what has an answer: `ask` returns a Result of it.
  template <class Ask>
  std::invoke_result_t<Ask> ask(const Ask& ask) {
    std::optional<typename std::invoke_result_t<Ask>::value_type> answer;
    KILN_TRY(run([&]() -> Result<void> {
      KILN_TRY_ASSIGN(answer, ask());
      return {};
    }));
    return std::move(*answer);
  }
  Result<void> check_process() const;
  // With the lock:
  Result<void> ensure_open(Look look = Look::name);
  Result<void> run_on_rescued(Result<void> failed, const Body& body);
  Result<void> rescue();
  Result<void> open_database();
  void close_database();
  bool is_the_opened_file(Look look);
  // Runs `body` in a write transaction that takes the pending writes along.
  Result<void> write(Patience patience, const Body& body);

  Result<GarbageReport> collect_batch(std::uint64_t size_bytes_max);
  Result<void> shrink_file(GarbageReport& report, const GarbageProgress& progress);

  // False: `query` has no row. Of `key`, where it asks for that one; else its row says of which.
  Result<bool> read(Query& query, UncheckedEntry& stored, const Key* key = nullptr);
  // Reads the entry of `query` for walk() and look().
  Result<std::optional<ExaminedEntry>> inspect(Query& query, const Key* key = nullptr);
  StoreLookup serve(UncheckedEntry&& stored);                    // takes the lock
  StoreLookup reject(std::int64_t id, std::string_view reason);  // takes the lock

  // The time, but later than that of any use that this process knows of. In a write transaction
  // that is any.
  std::int64_t next_use_us();
  // In a write transaction:
  Result<void> write_pending();
  Result<void> replace(const Key& key, const StoreEntry& entry);
  Result<void> write_tallies();
  Result<void> make_room(std::int64_t kept_id);
  // Removes the least recently used entries, but `kept_id`, down to `size_bytes_max`; at most so
  // many, so that other processes get their turn.
  Result<Eviction> evict(std::uint64_t size_bytes_max, std::int64_t entries_max,
                         std::int64_t kept_id);
  Result<void> move_to_quarantine(std::int64_t id, std::string_view reason);

  const StoreOptions options_;
  const FileSystemKind kind_;
  const std::filesystem::path file_;
  const OpenMode mode_;
  pid_t process_;  // whose store this is; changes in the child of a fork

  std::mutex mutex_;  // guards what follows
  std::optional<Database> database_;
  Database::Fault fault_at_open_ = Database::Fault::none;
  struct FileMark {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size_bytes = 0;
  };
  FileMark opened_;  // the file behind database_
  Fd opened_path_;   // the same; O_PATH: closing it drops none of SQLite's locks
  int rescues_left_ = 3;
  std::string rescue_note_;  // what the last rescue lost, until a look-up has said so
  Pending pending_;
  std::int64_t latest_use_us_ = 0;
  bool has_put_ = false;

  const ForkRegistration fork_;
};

}  // namespace kiln
