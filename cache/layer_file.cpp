// SPDX-License-Identifier: Apache-2.0
#include "cache/layer_file.h"

#include <fmt/format.h>

#include <array>

#include "cache/schema.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> not_sealed(const fs::path& file, std::string_view why) {
  return fail(ErrorCode::cache_failed,
              fmt::format("layer '{}' is refused: {}; whoever made it seals it with: "
                          "KILN_CACHE_DIR='{}' jitctl gc --seal",
                          file.string(), why, file.parent_path().string()));
}

bool has_bytes(const fs::path& file) {
  std::error_code none;
  const std::uintmax_t size = fs::file_size(file, none);
  return !none && size > 0;
}

Result<void> set_mode(const fs::path& path, fs::perms mode) {
  std::error_code error;
  fs::permissions(path, mode, error);
  if (!error) return {};
  return fail(ErrorCode::cache_failed, fmt::format("cache '{}': its mode cannot be set: {}",
                                                   path.string(), error.message()));
}

}  // namespace

fs::path layer_file_in(const fs::path& folder) {
  std::error_code ignored;
  const fs::path current = folder / kStoreFileName;
  const fs::path previous = folder / kPreviousStoreFileName;
  return !fs::exists(current, ignored) && fs::exists(previous, ignored) ? previous : current;
}

Result<void> check_is_sealed(Database& layer, const fs::path& file) {
  if (has_bytes(file.string() + "-wal")) {
    return not_sealed(file,
                      "its write-ahead log is not empty, so a process uses it as its cache "
                      "or was killed while it did");
  }
  if (has_bytes(file.string() + "-journal")) {
    return not_sealed(file,
                      "its journal is not empty, so a process is changing it or was killed "
                      "while it did");
  }
  // The two version bytes of the file format: 1 for a rollback journal, 2 for a write-ahead log.
  constexpr std::int64_t kVersionsAt = 18;
  constexpr std::byte kRollbackJournal{1};
  std::array<std::byte, 2> versions{};
  KILN_TRY(layer.read_file(kVersionsAt, versions));
  if (versions[0] == kRollbackJournal && versions[1] == kRollbackJournal) return {};
  return not_sealed(file, "it is in write-ahead-log mode, as a cache in use is");
}

Result<void> seal_file(Database& database, const fs::path& file) {
  KILN_TRY_ASSIGN(const std::string mode, database.word("PRAGMA journal_mode = DELETE"));
  if (mode != "delete") {
    return fail(ErrorCode::cache_failed,
                fmt::format("cache '{}': it cannot be sealed while another process uses it",
                            file.string()));
  }
  using fs::perms;
  const perms readable = perms::group_read | perms::others_read;
  KILN_TRY(set_mode(file, perms::owner_read | perms::owner_write | readable));
  return set_mode(file.parent_path(),
                  perms::owner_all | readable | perms::group_exec | perms::others_exec);
}

}  // namespace kiln
