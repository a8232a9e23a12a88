// SPDX-License-Identifier: Apache-2.0
// The tables of a store, and how a database file becomes or is recognised as one.
#pragma once

#include <filesystem>

#include "cache/folder.h"
#include "cache/sqlite.h"
#include "jit/base/result.h"

namespace kiln {

// In the file name too, so that two versions of Kiln never fight over one file.
inline constexpr int kSchemaVersion = 1;
inline constexpr const char* kStoreFileName = "kernels-v1.db";

// Opens `file` for a store; for read_write it makes the tables in a new or empty file. A file that
// is not a store is left byte for byte as it is.
// Errors: cache_failed: not a database, another program's, a newer schema, busy, I/O.
Result<Database> open_store_file(const std::filesystem::path& file, OpenMode mode,
                                 FileSystemKind kind, int busy_timeout_ms);

}  // namespace kiln
