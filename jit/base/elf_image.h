// SPDX-License-Identifier: Apache-2.0
// The sections and symbols of a 64-bit ELF file in memory, whoever wrote it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "jit/base/bytes.h"
#include "jit/base/result.h"

namespace kiln {

struct ElfSection {
  std::string_view name;
  std::uint32_t type = 0;
  std::uint64_t size_bytes = 0;
  ByteView bytes;  // empty for one that takes no place in the file (.bss)
};

// All of it points into the bytes that it was made of, which must stay.
struct ElfImage {
  std::uint16_t machine = 0;  // EM_X86_64, EM_CUDA, EM_AMDGPU
  std::vector<ElfSection> sections;
  std::vector<std::string_view> defined_symbols;  // of .symtab and .dynsym

  bool defines(std::string_view symbol) const;

  // Every offset, size and name in it is checked against the file.
  // Errors: cache_failed, saying what does not fit.
  static Result<ElfImage> parse(ByteView file);
};

}  // namespace kiln
