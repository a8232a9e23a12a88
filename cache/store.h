// SPDX-License-Identifier: Apache-2.0
// Store: one SQLite file of compiled kernels. It knows keys and bytes and nothing about either.
//
// Absent, rejected and failed are three answers. Nothing here ever deletes the database because of
// an error, and nothing but SQLite opens its file. All functions may be called from any thread and,
// after fork(), from the child, which gets a connection of its own. (Not after _Fork() or a bare
// clone(), where nothing can be made ready for the child: there, all of it fails.)
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jit/base/bytes.h"
#include "jit/base/key.h"
#include "jit/base/result.h"
#include "jit/base/unfilled_bytes.h"

namespace kiln {

// layer: read without locks, never written, and only where it was sealed.
enum class StoreAccess { read_write, read_only, layer };

struct StoreOptions {
  std::filesystem::path folder;
  // read_only writes nothing to the database. read_write on a read-only file system finds what is
  // there, and every put() fails.
  StoreAccess access = StoreAccess::read_write;
  std::uint64_t size_bytes_max = std::uint64_t{2} << 30;
  int busy_timeout_ms = 5000;
};

// What is stored under a key.
struct StoreEntry {
  std::string record;     // KeyRecord::joined().text(); compared in full on every hit
  std::string label;      // CompileInput::label(), for listings and filters
  UnfilledBytes payload;  // Artifact::encode()
  std::string info;       // a Record's text: compiler, compile time, log; not compared
};

struct StoreLookup {
  enum class Status {
    hit,
    absent,
    rejected,  // checksum or record did not match: the row is quarantined, treat it as absent
    failed,    // SQLite could not answer (busy, I/O): treat it as absent, say so once
  };
  Status status = Status::absent;
  Key key;             // of a hit: the whole key of the row, for quarantine()
  StoreEntry entry;    // of a hit
  std::string reason;  // of rejected and failed
};

// One row without its payload.
struct StoreRow {
  Key key;
  std::string label;
  std::string record;
  std::string info;
  std::uint64_t size_bytes = 0;  // of the payload
  std::int64_t created_s = 0;    // seconds since the epoch
  std::int64_t last_used_s = 0;  // refreshed in batches
};

// One entry as it lies in a store, for those who look at all of them.
struct ExaminedEntry {
  std::int64_t id = 0;  // its place in the walk; in no other store
  Key key;
  StoreEntry entry;
  std::string damage;  // why it would be rejected; empty: it is intact
};

struct StoreFilter {
  std::string label_contains;          // empty: all
  std::optional<Digest> request;       // only entries of this request
  std::optional<std::string> key_hex;  // only keys whose "request" hex digest begins so
  std::int64_t limit = -1;             // -1: no limit; newest use first
  // Without, `record` and `info` stay empty: a long listing is then read much faster.
  bool with_records = true;
};

// Where a listing goes on: behind the row that was used at that time. Uses meanwhile move a row to
// the front, so it may be missed or seen twice, as in any listing by use.
struct StoreCursor {
  std::int64_t last_used_us = INT64_MAX;
  std::int64_t id = INT64_MAX;
};

struct StorePage {
  std::vector<StoreRow> rows;
  std::optional<StoreCursor> next;  // none: these were the last ones
};

// What was served or compiled, kept across processes. The names are the caller's.
struct StoreTally {
  std::string op;
  std::string arch;
  std::string compiler;
  std::string tier;
  std::uint64_t uses = 0;
  std::uint64_t compile_us = 0;  // spent, or saved by a tier that spared the compile
  friend bool operator==(const StoreTally&, const StoreTally&) = default;
};

// What collect_garbage() has done so far.
struct GarbageReport {
  std::uint64_t entries_evicted = 0;
  std::uint64_t entries_left = 0;
  std::uint64_t size_bytes_left = 0;  // what the cap counts
  std::uint64_t file_bytes_before = 0;
  std::uint64_t file_bytes_after = 0;
};
using GarbageProgress = std::function<void(const GarbageReport&)>;

// Kept in the store across processes.
struct StoreTotals {
  std::uint64_t entries = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t size_bytes = 0;  // payloads, records, labels and infos: what the cap counts
  std::uint64_t hits = 0;
  std::uint64_t puts = 0;
  std::uint64_t rejected = 0;
  std::uint64_t evicted = 0;
};

class Store {
 public:
  // Creates the folder (0700) and the database where they are missing. A new database begins with
  // the entries that the version of Kiln before left in the same folder.
  // Errors: cache_failed: a folder that is not the user's own, is writable by others, or is a
  // symbolic link; a file that is no database of ours or another Kiln's; read-only access to what
  // does not exist; a layer that was not sealed; a process with more rights than its user.
  static Result<std::unique_ptr<Store>> open(const StoreOptions& options);
  virtual ~Store() = default;

  // `record` is the record that the caller would store; a row with another one is rejected.
  virtual StoreLookup find(const Key& key, std::string_view record) = 0;
  // The newest entry of a request, whatever made it: only for policy `any` with no compiler here.
  // Every field of the stored record that begins with "request." must equal `request`'s fields.
  virtual StoreLookup find_newest(const Digest& request, const Record& request_record) = 0;

  // Replaces an entry of the same key. Beyond the byte cap it evicts the least recently used ones,
  // and some more, so that not every put has to.
  // Errors: cache_failed (busy, disk full, read-only, larger than the whole cap); nothing
  // half-written stays.
  virtual Result<void> put(const Key& key, const StoreEntry& entry) = 0;
  // Removes an entry that turned out bad after it was read (undecodable, refused by the driver),
  // and counts it as rejected. No such entry is no error.
  virtual Result<void> quarantine(const Key& key, std::string_view reason) = 0;

  // The first entry after place `after_id` in the walk over all (0: from the start), or nothing.
  // A look: it counts as no use and removes no entry, whatever it finds. (A file that SQLite cannot
  // read is rescued here as everywhere; ids stay the same, so the walk goes on.)
  virtual Result<std::optional<ExaminedEntry>> walk(std::int64_t after_id) = 0;
  // The entry of one key in the same way.
  virtual Result<std::optional<ExaminedEntry>> look(const Key& key) = 0;

  // All of them, page by page.
  Result<std::vector<StoreRow>> list(const StoreFilter& filter);
  // The first rows after `after`: as many as `filter.limit`, and at most a few hundred at a time,
  // so that the first ones of a million come at once.
  virtual Result<StorePage> page(const StoreFilter& filter, const StoreCursor& after) = 0;
  // Up to `count` rows on either side of where `label` is, or would be, in the order of labels.
  virtual Result<std::vector<StoreRow>> near_label(std::string_view label, std::int64_t count) = 0;
  virtual Result<StoreTotals> totals() = 0;

  // Adds to what is kept across processes; written with the next batch. No effect where nothing can
  // be written.
  virtual void note(const StoreTally& tally) = 0;
  virtual Result<std::vector<StoreTally>> tallies() = 0;

  // Evicts the least recently used entries down to `size_bytes_max`, in batches between which other
  // processes get their turn, and then gives the space back to the file system.
  // Errors: cache_failed; what was done until then stays done.
  virtual Result<GarbageReport> collect_garbage(std::uint64_t size_bytes_max,
                                                const GarbageProgress& progress) = 0;
  // Makes the folder fit to be a layer: one file without a log, readable by everybody. The next
  // process that opens it for writing makes it a cache again.
  // Errors: cache_failed: another process uses it; I/O.
  virtual Result<void> seal() = 0;
  // Writes pending last-used times and totals; also done now and then, and on destruction.
  virtual Result<void> flush() = 0;

  virtual const std::filesystem::path& file() const = 0;
  // What the version of Kiln before left in the same folder: it stays, for programs of that version
  // that still use it, and may be removed when there are none.
  std::optional<std::filesystem::path> previous_file() const;
};

}  // namespace kiln
