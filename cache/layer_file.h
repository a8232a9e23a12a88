// SPDX-License-Identifier: Apache-2.0
// What makes a store's file fit to be a layer: nobody has it open for writing, now or later.
#pragma once

#include <filesystem>

#include "cache/sqlite.h"
#include "jit/base/result.h"

namespace kiln {

// The file of the store in `folder`: this version's, else the one of the version before.
std::filesystem::path layer_file_in(const std::filesystem::path& folder);

// Whether `file`, opened as `layer`, was left by seal(). A cache in use is in write-ahead-log mode
// and may have entries in its log alone; one whose writer died in rollback mode has a journal.
// Errors: cache_failed, saying which, and how to seal it.
Result<void> check_is_sealed(Database& layer, const std::filesystem::path& file);

// Turns the cache behind `database` into a file that can be a layer, readable by everybody.
// Errors: cache_failed: another process uses it; I/O.
Result<void> seal_file(Database& database, const std::filesystem::path& file);

}  // namespace kiln
