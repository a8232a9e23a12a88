// SPDX-License-Identifier: Apache-2.0
// How a library appears in the toolchain half of a key.
#pragma once

#include <filesystem>

#include "jit/base/record.h"

namespace kiln {

// Adds "library: <file name> <build-id>". The folder is left out: the same library installed
// elsewhere makes the same code.
// Errors: unavailable, when the file cannot be read or is no ELF library.
Result<void> add_library(Record& toolchain, const std::filesystem::path& file);

}  // namespace kiln
