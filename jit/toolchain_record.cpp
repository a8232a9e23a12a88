// SPDX-License-Identifier: Apache-2.0
#include "jit/toolchain_record.h"

#include "jit/base/elf.h"

namespace kiln {

Result<void> add_library(Record& toolchain, const std::filesystem::path& file) {
  KILN_TRY_ASSIGN(const std::string identity, library_identity(file));
  toolchain.add("library", file.filename().string() + " " + identity);
  return {};
}

}  // namespace kiln
