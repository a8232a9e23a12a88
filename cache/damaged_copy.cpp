// SPDX-License-Identifier: Apache-2.0
// The live file is read through SQLite's own handle of it: closing another descriptor would drop
// SQLite's locks.
#include "cache/damaged_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "cache/schema.h"

namespace kiln {
namespace {

// Where SQLite's file format keeps what is looked at here, in bytes from the start of the file.
constexpr std::size_t kPagesAt = 28;
constexpr std::size_t kFreeListAt = 32;  // first page, then the number of pages
constexpr std::size_t kUserVersionAt = 60;
constexpr std::size_t kApplicationIdAt = 68;
constexpr std::string_view kMagic("SQLite format 3\0", 16);

using Page = std::vector<char>;

sqlite3_file* file_of(Database& database) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(database.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  return file && file->pMethods ? file : nullptr;
}

Result<std::uint64_t> size_of(sqlite3_file* file) {
  sqlite3_int64 size = 0;
  if (!file || file->pMethods->xFileSize(file, &size) != SQLITE_OK) {
    return fail(ErrorCode::cache_failed, "the damaged cache cannot be read");
  }
  return static_cast<std::uint64_t>(size);
}

// Zeros stand for what is beyond the end of the file.
Result<void> read_page(sqlite3_file* file, std::uint64_t number, Page& page) {
  page.assign(kPageBytes, 0);
  const int code = file->pMethods->xRead(file, page.data(), kPageBytes,
                                         static_cast<sqlite3_int64>(number * kPageBytes));
  if (code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("the damaged cache cannot be read: {}", sqlite3_errstr(code)));
}

std::uint32_t number_at(const Page& page, std::size_t offset) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number = number << 8 | static_cast<unsigned char>(page[offset + i]);
  }
  return number;
}

void set_number(Page& page, std::size_t offset, std::uint64_t number) {
  for (std::size_t i = 0; i < 4; ++i) {
    page[offset + i] = static_cast<char>(number >> (24 - 8 * i));
  }
}

}  // namespace

Result<void> check_bears_signs_of_a_store(Database& live) {
  sqlite3_file* const file = file_of(live);
  KILN_TRY(size_of(file));
  Page page;
  KILN_TRY(read_page(file, 0, page));
  const std::string_view text(page.data(), page.size());
  const bool ours = number_at(page, kApplicationIdAt) == kApplicationId;
  const bool this_schema = number_at(page, kUserVersionAt) == kSchemaVersion;
  const bool tables = text.find("CREATE TABLE content(") != text.npos &&
                      text.find("CREATE TABLE quarantine(") != text.npos;
  // A damage may have taken one of them.
  const int signs = (ours ? 1 : 0) + (this_schema ? 1 : 0) + (tables ? 1 : 0);
  const bool another_schema = text.starts_with(kMagic) && ours && !this_schema;
  if (signs >= 2 && !another_schema) return {};
  return fail(ErrorCode::cache_failed, "it bears no sign of being a Kiln cache");
}

Result<void> copy_with_first_page(Database& live, Database& fresh,
                                  const std::filesystem::path& copy) {
  sqlite3_file* const from = file_of(live);
  KILN_TRY_ASSIGN(const std::uint64_t size, size_of(from));
  const std::uint64_t pages = (size + kPageBytes - 1) / kPageBytes;
  Page page;
  KILN_TRY_ASSIGN([[maybe_unused]] const std::uint64_t known, size_of(file_of(fresh)));
  KILN_TRY(read_page(file_of(fresh), 0, page));
  set_number(page, kPagesAt, pages);
  set_number(page, kFreeListAt, 0);
  set_number(page, kFreeListAt + 4, 0);
  std::ofstream out(copy, std::ios::binary);
  out.write(page.data(), static_cast<std::streamsize>(page.size()));
  for (std::uint64_t number = 1; number < pages; ++number) {
    KILN_TRY(read_page(from, number, page));
    out.write(page.data(), static_cast<std::streamsize>(page.size()));
  }
  out.close();
  if (out) return {};
  return fail(ErrorCode::cache_failed, fmt::format("cannot write '{}': {}; free some space",
                                                   copy.string(), std::strerror(errno)));
}

}  // namespace kiln
