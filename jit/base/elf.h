// SPDX-License-Identifier: Apache-2.0
// The identity of a shared library, read from its file. Nothing is loaded.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jit/base/result.h"

namespace kiln {

// The GNU build-id of a 64-bit ELF file, in hex. A file without one is identified by
// "size-mtime:<bytes>-<nanoseconds>", which costs as little and changes when the file does.
// Errors: unavailable, when the file cannot be read or is not ELF.
Result<std::string> library_identity(const std::filesystem::path& file);

// What the dynamic section of a 64-bit ELF library names.
struct ElfDependencies {
  std::vector<std::string> needed;              // DT_NEEDED, in order
  std::vector<std::filesystem::path> run_path;  // DT_RUNPATH or DT_RPATH with $ORIGIN resolved
};
Result<ElfDependencies> library_dependencies(const std::filesystem::path& file);

}  // namespace kiln
