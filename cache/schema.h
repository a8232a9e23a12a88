// SPDX-License-Identifier: Apache-2.0
// The tables of a store, and how a database file becomes or is recognised as one.
#pragma once

#include <cstdint>
#include <filesystem>

#include "cache/folder.h"
#include "cache/sqlite.h"
#include "jit/base/digest.h"
#include "jit/base/result.h"

namespace kiln {

// In the file name too, so that two versions of Kiln never fight over one file.
inline constexpr int kSchemaVersion = 2;
inline constexpr const char* kStoreFileName = "kernels-v2.db";
inline constexpr std::int64_t kApplicationId = 0x4b696c6e;  // "Kiln"
// A put changes a dozen pages beside its payload's, whole pages go to the log, and who opens the
// file reads the log: so they are small. All of the schema's text fits on the first one, as the
// rescue of a damaged first page needs it.
inline constexpr int kPageBytes = 4096;
// The version before: a new store begins with its entries, and a layer may still have it.
inline constexpr int kPreviousSchemaVersion = 1;
inline constexpr const char* kPreviousStoreFileName = "kernels-v1.db";

// Opens `file` for a store; for read_write it makes the tables in a new or empty file, and copies
// what the version before has beside it. A file that is not a store is left byte for byte as it is.
// Errors: cache_failed: not a database, another program's, another schema, busy, I/O; for a layer
// also one that is, or was, in use as a cache. Of what kind is left in `fault`.
Result<Database> open_store_file(const std::filesystem::path& file, OpenMode mode,
                                 FileSystemKind kind, int busy_timeout_ms, Database::Fault& fault);

// A new store that need not survive a kill, for one user: what is to be copied elsewhere when it is
// filled. Errors: cache_failed.
Result<Database> create_private_store_file(const std::filesystem::path& file);

// What a column of a key holds; zeros follow where it is too short, which no key's is.
Digest digest_from(ByteView blob);

}  // namespace kiln
