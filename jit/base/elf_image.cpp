// SPDX-License-Identifier: Apache-2.0
#include "jit/base/elf_image.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace kiln {
namespace {

tl::unexpected<Error> bad_image(std::string why) {
  return fail(ErrorCode::cache_failed, std::move(why));
}

std::optional<ByteView> part_of(ByteView file, std::uint64_t offset, std::uint64_t size) {
  if (offset > file.size() || size > file.size() - offset) return std::nullopt;
  return file.subspan(offset, size);
}

// `count` structs that lie one behind the other at `offset`.
template <class T>
std::optional<std::vector<T>> table_at(ByteView file, std::uint64_t offset, std::uint64_t count) {
  if (count > file.size() / sizeof(T)) return std::nullopt;
  const auto bytes = part_of(file, offset, count * sizeof(T));
  if (!bytes) return std::nullopt;
  std::vector<T> table(count);
  if (count > 0) std::memcpy(table.data(), bytes->data(), bytes->size());
  return table;
}

// The name at `offset` of a string table, which must end in it.
std::optional<std::string_view> name_at(ByteView strings, std::uint64_t offset) {
  if (offset >= strings.size()) return std::nullopt;
  const std::string_view rest = as_text(strings).substr(offset);
  const std::size_t end = rest.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  return rest.substr(0, end);
}

Result<Elf64_Ehdr> read_header(ByteView file) {
  Elf64_Ehdr header;
  if (file.size() < sizeof header) {
    return bad_image(fmt::format("{} bytes are too few for an ELF file", file.size()));
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return bad_image("it is no ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return bad_image("it is no 64-bit little-endian ELF file");
  }
  if (header.e_shentsize != sizeof(Elf64_Shdr) ||
      (header.e_phnum > 0 && header.e_phentsize != sizeof(Elf64_Phdr))) {
    return bad_image("its ELF tables have rows of another size");
  }
  return header;
}

Result<void> check_segments(ByteView file, const Elf64_Ehdr& header) {
  const auto segments = table_at<Elf64_Phdr>(file, header.e_phoff, header.e_phnum);
  if (!segments) return bad_image("its ELF segment table lies outside the file");
  for (const Elf64_Phdr& segment : *segments) {
    if (!part_of(file, segment.p_offset, segment.p_filesz)) {
      return bad_image("an ELF segment lies outside the file");
    }
  }
  return {};
}

Result<void> add_symbols(ByteView file, const std::vector<Elf64_Shdr>& headers,
                         const Elf64_Shdr& table, ElfImage& image) {
  const auto symbols =
      table_at<Elf64_Sym>(file, table.sh_offset, table.sh_size / sizeof(Elf64_Sym));
  if (!symbols || table.sh_entsize != sizeof(Elf64_Sym) || table.sh_link >= headers.size()) {
    return bad_image("its ELF symbol table is damaged");
  }
  const Elf64_Shdr& strings_header = headers[table.sh_link];
  const auto strings = part_of(file, strings_header.sh_offset, strings_header.sh_size);
  for (const Elf64_Sym& symbol : *symbols) {
    const auto name = strings ? name_at(*strings, symbol.st_name) : std::nullopt;
    if (!name) return bad_image("an ELF symbol's name lies outside its table");
    if (symbol.st_shndx != SHN_UNDEF) image.defined_symbols.push_back(*name);
  }
  return {};
}

}  // namespace

Result<ElfImage> ElfImage::parse(ByteView file) {
  KILN_TRY_ASSIGN(const Elf64_Ehdr header, read_header(file));
  KILN_TRY(check_segments(file, header));
  const auto headers = table_at<Elf64_Shdr>(file, header.e_shoff, header.e_shnum);
  if (!headers) return bad_image("its ELF section table lies outside the file");
  if (header.e_shstrndx >= headers->size()) return bad_image("its ELF sections have no names");
  const Elf64_Shdr& names_header = (*headers)[header.e_shstrndx];
  const auto names = part_of(file, names_header.sh_offset, names_header.sh_size);
  if (!names) return bad_image("the names of its ELF sections lie outside the file");

  ElfImage image;
  image.machine = header.e_machine;
  for (const Elf64_Shdr& section : *headers) {
    const auto name = name_at(*names, section.sh_name);
    if (!name) return bad_image("an ELF section's name lies outside its table");
    const bool in_file = section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL;
    const auto bytes = part_of(file, section.sh_offset, in_file ? section.sh_size : 0);
    if (!bytes) return bad_image(fmt::format("ELF section '{}' lies outside the file", *name));
    image.sections.push_back({*name, section.sh_type, section.sh_size, *bytes});
    if (section.sh_type == SHT_SYMTAB || section.sh_type == SHT_DYNSYM) {
      KILN_TRY(add_symbols(file, *headers, section, image));
    }
  }
  return image;
}

bool ElfImage::defines(std::string_view symbol) const {
  return std::find(defined_symbols.begin(), defined_symbols.end(), symbol) != defined_symbols.end();
}

}  // namespace kiln
