// SPDX-License-Identifier: Apache-2.0
// Small files that decide whom to trust: who can change one can run code as its reader.
#pragma once

#include <filesystem>
#include <string>

#include "jit/base/result.h"

namespace kiln {

enum class KeyFileKind {
  secret,  // the user's own, 0600 or less
  list,    // the user's or root's, writable by nobody else
};

// The contents. Its folder must belong to the user or root as well and be writable by nobody else.
// Errors: unavailable when there is no such file; cache_failed with the rule that is broken.
Result<std::string> read_key_file(const std::filesystem::path& file, KeyFileKind kind);

// Makes the file, 0600, with the folders that are missing, 0700. Errors: cache_failed, also when it
// exists.
Result<void> create_key_file(const std::filesystem::path& file, const std::string& text);

// Adds `text`, which begins a line, to the end of the file, which is made where it is missing.
// Errors: cache_failed. The caller has read the file, and so checked it.
Result<void> append_key_file(const std::filesystem::path& file, const std::string& text);

}  // namespace kiln
