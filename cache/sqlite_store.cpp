// SPDX-License-Identifier: Apache-2.0
// Opening, closing and looking up; the writing half is in store_write.cpp.
#include "cache/sqlite_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cache/checksum.h"
#include "cache/clock.h"
#include "cache/layer_file.h"
#include "cache/schema.h"

namespace kiln {
namespace {

// LEFT JOIN: an entry that lost its content is damaged, not absent. The payload is read separately,
// without a copy on the way.
#define KILN_ENTRY "SELECT e.id, e.label, c.record, c.info, c.checksum, e.payload_bytes"
#define KILN_TABLES " FROM entry e LEFT JOIN content c ON c.id = e.id "
constexpr const char* kFind = KILN_ENTRY KILN_TABLES "WHERE e.request = ?1 AND e.toolchain = ?2";
constexpr const char* kFindId = KILN_ENTRY ", e.request, e.toolchain" KILN_TABLES "WHERE e.id = ?1";
constexpr const char* kNextAfter =
    KILN_ENTRY ", e.request, e.toolchain" KILN_TABLES "WHERE e.id > ?1 ORDER BY e.id LIMIT 1";
#undef KILN_ENTRY
#undef KILN_TABLES
constexpr const char* kNewestOfRequest = R"sql(
SELECT id FROM entry WHERE request = ?1 ORDER BY created_us DESC, id DESC
)sql";

// How many hits at most a killed process takes with it.
constexpr std::int64_t kHitsPerWrite = 1024;

StoreLookup failed(const Error& error) {
  StoreLookup lookup;
  lookup.status = StoreLookup::Status::failed;
  lookup.reason = error.message;
  return lookup;
}

StoreLookup rejected(std::string reason) {
  StoreLookup lookup;
  lookup.status = StoreLookup::Status::rejected;
  lookup.reason = std::move(reason);
  return lookup;
}

// Whether `record` is `expected` and then only fields that are no part of a request.
bool has_request(std::string_view record, std::string_view expected) {
  if (!record.starts_with(expected)) return false;
  const Result<Record> rest = Record::parse(record.substr(expected.size()));
  return rest && std::none_of(rest->fields().begin(), rest->fields().end(),
                              [](const auto& field) { return field.name.starts_with("request."); });
}

std::filesystem::path file_of(const StoreOptions& options) {
  return options.access == StoreAccess::layer ? layer_file_in(options.folder)
                                              : options.folder / kStoreFileName;
}

Result<OpenMode> mode_for(const std::filesystem::path& file, StoreAccess access) {
  std::error_code ignored;
  if (access == StoreAccess::layer) {
    if (std::filesystem::exists(file, ignored)) return OpenMode::layer;
    return fail(ErrorCode::cache_failed, fmt::format("layer '{}': there is none", file.string()));
  }
  if (is_writable(file.parent_path())) {
    return access == StoreAccess::read_write ? OpenMode::read_write : OpenMode::read_only;
  }
  const int error = errno;
  if (std::filesystem::exists(file, ignored)) return OpenMode::frozen;
  return fail(ErrorCode::cache_failed,
              fmt::format("cache '{}': there is none, and it cannot be made: {}", file.string(),
                          std::strerror(error)));
}

}  // namespace

struct SqliteStore::UncheckedEntry {
  std::int64_t id = 0;
  Key key;
  StoreEntry entry;
  std::optional<Checksum> checksum;  // none: what is stored cannot be right

  bool is_intact() const {
    return checksum == checksum_of(key, entry.label, entry.record, entry.info, entry.payload);
  }
};

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& options) {
  StoreOptions trusted = options;
  KILN_TRY_ASSIGN(trusted.folder, trusted_folder(options.folder, options.access));
  return SqliteStore::open(trusted, file_system_kind(trusted.folder));
}

Result<std::unique_ptr<Store>> SqliteStore::open(const StoreOptions& options, FileSystemKind kind) {
  const std::filesystem::path file = file_of(options);
  KILN_TRY(check_trusted_file(file, options.access));
  KILN_TRY_ASSIGN(const OpenMode mode, mode_for(file, options.access));
  std::unique_ptr<SqliteStore> store(new SqliteStore(options, kind, mode));
  KILN_TRY(store->run([] { return Result<void>(); }));
  return store;
}

SqliteStore::SqliteStore(const StoreOptions& options, FileSystemKind kind, OpenMode mode)
    : options_(options),
      kind_(kind),
      file_(file_of(options)),
      mode_(mode),
      process_(getpid()),
      fork_(fork_hooks()) {}

StoreLookup SqliteStore::find(const Key& key, std::string_view record) {
  UncheckedEntry stored;
  bool found = false;
  std::string lost;
  const auto read_row = [&]() -> Result<void> {
    Query query(*database_, kFind);
    query.bind(key.request.bytes).bind(key.toolchain.bytes);
    KILN_TRY_ASSIGN(found, read(query, stored, &key));
    lost.swap(rescue_note_);
    return {};
  };
  const Result<void> read_it = run(read_row, Look::descriptor);
  // Checked without the lock: that takes as long as reading it did.
  if (!read_it) return failed(read_it.error());
  if (!found) return lost.empty() ? StoreLookup{} : rejected(std::move(lost));
  if (!stored.is_intact()) return reject(stored.id, "its checksum does not match");
  if (stored.entry.record != record) {
    return reject(stored.id, "it has the same key and another record");
  }
  return serve(std::move(stored));
}

StoreLookup SqliteStore::find_newest(const Digest& request, const Record& request_record) {
  Record wanted;
  wanted.add_all("request", request_record);
  const std::string expected = wanted.text();

  std::vector<std::int64_t> newest_first;
  const Result<void> listed = run([&]() -> Result<void> {
    newest_first.clear();
    Query query(*database_, kNewestOfRequest);
    query.bind(request.bytes);
    Result<bool> row = query.next();
    for (; row && *row; row = query.next()) newest_first.push_back(query.integer(0));
    KILN_TRY(row);
    return {};
  });
  if (!listed) return failed(listed.error());
  StoreLookup answer;
  for (const std::int64_t id : newest_first) {
    UncheckedEntry stored;
    bool found = false;
    const Result<void> read_it = run([&]() -> Result<void> {
      Query query(*database_, kFindId);
      query.bind(id);
      KILN_TRY_ASSIGN(found, read(query, stored));
      return {};
    });
    if (!read_it) return failed(read_it.error());
    if (!found) continue;  // removed meanwhile
    if (!stored.is_intact()) {
      answer = reject(id, "its checksum does not match");
    } else if (!has_request(stored.entry.record, expected)) {
      answer = reject(id, "it has the same request digest and another request");
    } else {
      return serve(std::move(stored));
    }
  }
  return answer;
}

Result<bool> SqliteStore::read(Query& query, UncheckedEntry& stored, const Key* key) {
  stored.checksum.reset();
  KILN_TRY_ASSIGN(const bool found, query.next());
  if (!found) return false;
  stored.id = query.integer(0);
  stored.key = key ? *key : Key{digest_from(query.blob(6)), digest_from(query.blob(7))};
  stored.entry.label = query.text(1);
  stored.entry.record = query.text(2);
  stored.entry.info = query.text(3);
  KILN_TRY_ASSIGN(const bool is_there,
                  database_->read_blob("content", "payload", stored.id, query.integer(5),
                                       stored.entry.payload));
  const ByteView checksum = query.blob(4);
  if (is_there && checksum.size() == std::tuple_size_v<Checksum>) {
    std::copy(checksum.begin(), checksum.end(), stored.checksum.emplace().begin());
  }
  return true;
}

Result<std::optional<ExaminedEntry>> SqliteStore::walk(std::int64_t after_id) {
  return ask([&]() -> Result<std::optional<ExaminedEntry>> {
    Query query(*database_, kNextAfter);
    query.bind(after_id);
    return inspect(query);
  });
}

Result<std::optional<ExaminedEntry>> SqliteStore::look(const Key& key) {
  return ask([&]() -> Result<std::optional<ExaminedEntry>> {
    Query query(*database_, kFind);
    query.bind(key.request.bytes).bind(key.toolchain.bytes);
    return inspect(query, &key);
  });
}

Result<std::optional<ExaminedEntry>> SqliteStore::inspect(Query& query, const Key* key) {
  UncheckedEntry stored;
  KILN_TRY_ASSIGN(const bool found, read(query, stored, key));
  if (!found) return std::nullopt;
  ExaminedEntry examined;
  examined.id = stored.id;
  examined.key = stored.key;
  if (!stored.is_intact()) examined.damage = "its checksum does not match";
  examined.entry = std::move(stored.entry);
  return examined;
}

StoreLookup SqliteStore::serve(UncheckedEntry&& stored) {
  if (mode_ == OpenMode::read_write) {
    const std::lock_guard lock(mutex_);
    if (database_) pending_.last_used_us[stored.id] = next_use_us();
    // When somebody else is writing, the next hit tries again.
    if (++pending_.hits >= kHitsPerWrite && database_) {
      (void)write(Patience::little, [] { return Result<void>(); });
    }
  }
  StoreLookup lookup;
  lookup.status = StoreLookup::Status::hit;
  lookup.key = stored.key;
  lookup.entry = std::move(stored.entry);
  return lookup;
}

StoreLookup SqliteStore::reject(std::int64_t id, std::string_view reason) {
  if (mode_ == OpenMode::read_write) {
    // Where it cannot be removed now, it is rejected again next time.
    (void)run(
        [&] { return write(Patience::little, [&] { return move_to_quarantine(id, reason); }); });
  }
  return rejected(fmt::format("cache '{}': an entry is rejected: {}", file_.string(), reason));
}

}  // namespace kiln
