// SPDX-License-Identifier: Apache-2.0
// Reading a store file whose first page is damaged.
#pragma once

#include <filesystem>

#include "cache/sqlite.h"
#include "jit/base/result.h"

namespace kiln {

// Whether `live`, which need not be readable, is a store of this schema, by what its first page
// still says: a file of somebody else's is not ours to rewrite.
// Errors: cache_failed.
Result<void> check_bears_signs_of_a_store(Database& live);

// Copies the file of `live` to `copy`, with the first page of `fresh`, an empty store: that page
// says where each table begins, which is the same in all stores of a schema.
// Errors: cache_failed.
Result<void> copy_with_first_page(Database& live, Database& fresh,
                                  const std::filesystem::path& copy);

}  // namespace kiln
