// SPDX-License-Identifier: Apache-2.0
#include "cache/upgrade.h"

#include "cache/folder.h"
#include "cache/schema.h"
#include "cache/store.h"

namespace kiln {
namespace {

// Another process that writes it is not waited for long: a fresh cache is no error.
constexpr int kBusyTimeoutMs = 200;

constexpr const char* kPreviousRows = R"sql(
SELECT e.request, e.toolchain, e.label, e.payload_bytes, e.size_bytes, e.created_us,
       e.last_used_us, c.record, c.info, c.checksum, c.payload
FROM entry e JOIN content c ON c.id = e.id
ORDER BY e.last_used_us DESC
)sql";
constexpr const char* kPreviousTotals = "SELECT hits, puts, rejected, evicted FROM totals";
constexpr const char* kCopyEntry = R"sql(
INSERT OR IGNORE INTO
entry(request, toolchain, label, payload_bytes, size_bytes, created_us, last_used_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
RETURNING id
)sql";
constexpr const char* kCopyContent =
    "INSERT INTO content(id, record, info, checksum, payload) VALUES (?1, ?2, ?3, ?4, ?5)";
constexpr const char* kCopyTotals =
    "UPDATE totals SET hits = ?1, puts = ?2, rejected = ?3, evicted = ?4";

// A damaged row, which this schema's checks refuse, is left out.
Result<void> copy_row(Database& fresh, const Query& row) {
  std::int64_t id = 0;
  {
    Query entry(fresh, kCopyEntry);
    entry.bind(row.blob(0)).bind(row.blob(1)).bind(row.text(2));
    for (int column = 3; column <= 6; ++column) entry.bind(row.integer(column));
    KILN_TRY_ASSIGN(const bool is_sound, entry.next());
    if (!is_sound) return {};
    id = entry.integer(0);
    KILN_TRY(entry.run());
  }
  Query content(fresh, kCopyContent);
  content.bind(id).bind(row.text(7)).bind(row.text(8)).bind(row.blob(9)).bind(row.blob(10));
  return content.run();
}

Result<void> copy_totals(Database& fresh, Database& previous) {
  Query totals(previous, kPreviousTotals);
  const Result<bool> found = totals.next();
  if (!found || !*found) return {};
  Query copy(fresh, kCopyTotals);
  for (int column = 0; column <= 3; ++column) copy.bind(totals.integer(column));
  return copy.run();
}

bool is_usable(const std::filesystem::path& previous) {
  std::error_code none;
  return std::filesystem::exists(previous, none) &&
         check_trusted_file(previous, StoreAccess::read_write).has_value();
}

}  // namespace

std::optional<std::filesystem::path> Store::previous_file() const {
  const std::filesystem::path previous = file().parent_path() / kPreviousStoreFileName;
  std::error_code none;
  if (previous == file() || !std::filesystem::exists(previous, none)) return std::nullopt;
  return previous;
}

Result<void> copy_previous_store(Database& fresh, const std::filesystem::path& previous,
                                 std::uint64_t bytes_max) {
  if (!is_usable(previous)) return {};
  auto opened = Database::open(previous, OpenMode::read_only, kBusyTimeoutMs);
  if (!opened) return {};
  opened->set_checkpoint_on_close(CheckpointOnClose::no);
  const auto version = opened->integer("PRAGMA user_version");
  if (!version || *version != kPreviousSchemaVersion) return {};
  std::uint64_t bytes = 0;
  Query rows(*opened, kPreviousRows);
  Result<bool> row = rows.next();
  for (; row && *row; row = rows.next()) {
    bytes += static_cast<std::uint64_t>(rows.integer(4));
    if (bytes > bytes_max) break;
    KILN_TRY(copy_row(fresh, rows));
  }
  return copy_totals(fresh, *opened);
}

}  // namespace kiln
