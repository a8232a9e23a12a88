// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_image.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>

namespace kiln {
namespace {

bool reaches_past(ByteView code, std::uint64_t offset, std::uint64_t bytes) {
  return offset > code.size() || bytes > code.size() - offset;
}

}  // namespace

Answer is_whole_elf(ByteView code, int elf_machine) {
  Elf64_Ehdr header;
  if (code.size() < sizeof header) {
    return Answer::no(fmt::format("its {} bytes are too few for an ELF header", code.size()));
  }
  std::memcpy(&header, code.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return Answer::no("it is not a 64-bit ELF file");
  }
  if (header.e_machine != elf_machine) {
    return Answer::no(
        fmt::format("it is ELF for machine {}, not {}", header.e_machine, elf_machine));
  }
  const auto cut = [&] {
    return Answer::no(fmt::format("its {} bytes end before its last section", code.size()));
  };
  const std::uint64_t segments_bytes = std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phnum > 0 && reaches_past(code, header.e_phoff, segments_bytes)) return cut();
  const std::uint64_t sections_bytes = std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr);
  if (header.e_shnum > 0 && reaches_past(code, header.e_shoff, sections_bytes)) return cut();
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, code.data() + header.e_shoff + i * sizeof section, sizeof section);
    if (section.sh_type == SHT_NOBITS || section.sh_type == SHT_NULL) continue;
    if (reaches_past(code, section.sh_offset, section.sh_size)) return cut();
  }
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, code.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (reaches_past(code, segment.p_offset, segment.p_filesz)) return cut();
  }
  return Answer::yes();
}

}  // namespace kiln
