// SPDX-License-Identifier: Apache-2.0
// The drivers take a pointer to code without its length, so code that was cut short would make
// them read past its end. Checked here first.
#pragma once

#include "jit/base/answer.h"
#include "jit/base/bytes.h"

namespace kiln {

// Whether `code` is a 64-bit ELF file for `elf_machine` with all of its tables and sections.
Answer is_whole_elf(ByteView code, int elf_machine);

}  // namespace kiln
