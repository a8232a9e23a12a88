// SPDX-License-Identifier: Apache-2.0
#include "jit/base/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "jit/base/bytes.h"
#include "jit/base/handle.h"

namespace kiln {
namespace {

// A damaged header must not make us read gigabytes.
constexpr std::size_t kSectionSizeMax = std::size_t{16} << 20;

class ElfFile {
 public:
  static Result<ElfFile> open(const std::filesystem::path& path) {
    ElfFile file;
    file.path_ = path;
    file.fd_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.fd_) {
      return fail(ErrorCode::unavailable,
                  fmt::format("cannot read '{}': {}", path.string(), std::strerror(errno)));
    }
    Elf64_Ehdr header{};
    if (!file.read_object(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
      return fail(ErrorCode::unavailable,
                  fmt::format("'{}' is not a 64-bit ELF library", path.string()));
    }
    file.segments_.resize(header.e_phnum);
    for (std::size_t i = 0; i < file.segments_.size(); ++i) {
      if (!file.read_object(header.e_phoff + i * sizeof(Elf64_Phdr), file.segments_[i])) {
        return fail(ErrorCode::unavailable, fmt::format("'{}' is truncated", path.string()));
      }
    }
    return file;
  }

  const std::vector<Elf64_Phdr>& segments() const { return segments_; }
  int fd() const { return fd_.get(); }

  std::optional<Bytes> read(std::uint64_t offset, std::uint64_t size) const {
    if (size > kSectionSizeMax) return std::nullopt;
    Bytes data(size);
    std::size_t done = 0;
    while (done < size) {
      const ssize_t got =
          pread(fd_.get(), data.data() + done, size - done, static_cast<off_t>(offset + done));
      if (got <= 0) return std::nullopt;
      done += static_cast<std::size_t>(got);
    }
    return data;
  }

  // Where the loaded address `address` lies in the file.
  std::optional<std::uint64_t> file_offset(std::uint64_t address) const {
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
          address - segment.p_vaddr < segment.p_filesz) {
        return address - segment.p_vaddr + segment.p_offset;
      }
    }
    return std::nullopt;
  }

 private:
  template <class T>
  bool read_object(std::uint64_t offset, T& object) const {
    const auto data = read(offset, sizeof object);
    if (data) std::memcpy(&object, data->data(), sizeof object);
    return data.has_value();
  }

  std::filesystem::path path_;
  Fd fd_;
  std::vector<Elf64_Phdr> segments_;
};

std::string hex_of(ByteView bytes) {
  std::string text;
  for (const std::byte b : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", int(b));
  return text;
}

// Finds NT_GNU_BUILD_ID among the notes of one PT_NOTE segment, padded to 4 or to 8 bytes.
std::optional<std::string> build_id_in(ByteView notes, std::size_t alignment) {
  const std::size_t mask = (alignment == 8 ? 8 : 4) - 1;
  const auto padded = [mask](std::size_t size) { return (size + mask) & ~mask; };
  std::size_t at = 0;
  while (at + sizeof(Elf64_Nhdr) <= notes.size()) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    const std::size_t name_at = at + sizeof note;
    const std::size_t value_at = at + padded(sizeof note + note.n_namesz);
    if (value_at > notes.size() || note.n_descsz > notes.size() - value_at) return std::nullopt;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(notes.data() + name_at, "GNU", 4) == 0) {
      return hex_of(notes.subspan(value_at, note.n_descsz));
    }
    at = value_at + padded(note.n_descsz);
  }
  return std::nullopt;
}

std::vector<std::filesystem::path> split_run_path(std::string_view text,
                                                  const std::filesystem::path& origin) {
  std::vector<std::filesystem::path> folders;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(':'), text.size());
    std::string folder(text.substr(0, end));
    for (const std::string_view name : {"$ORIGIN", "${ORIGIN}"}) {
      if (const auto at = folder.find(name); at != std::string::npos) {
        folder.replace(at, name.size(), origin.string());
      }
    }
    if (!folder.empty()) folders.emplace_back(folder);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return folders;
}

}  // namespace

Result<std::string> library_identity(const std::filesystem::path& path) {
  KILN_TRY_ASSIGN(const ElfFile file, ElfFile::open(path));
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type != PT_NOTE) continue;
    const auto notes = file.read(segment.p_offset, segment.p_filesz);
    if (!notes) continue;
    if (auto id = build_id_in(*notes, segment.p_align)) return *id;
  }
  struct stat status {};
  if (fstat(file.fd(), &status) != 0) {
    return fail(ErrorCode::unavailable,
                fmt::format("cannot stat '{}': {}", path.string(), std::strerror(errno)));
  }
  return fmt::format("size-mtime:{}-{}{:09}", status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

Result<ElfDependencies> library_dependencies(const std::filesystem::path& path) {
  KILN_TRY_ASSIGN(const ElfFile file, ElfFile::open(path));
  const auto damaged = [&] {
    return fail(ErrorCode::unavailable,
                fmt::format("'{}' has a damaged dynamic section", path.string()));
  };
  std::vector<Elf64_Dyn> entries;
  for (const Elf64_Phdr& segment : file.segments()) {
    if (segment.p_type != PT_DYNAMIC) continue;
    const auto data = file.read(segment.p_offset, segment.p_filesz);
    if (!data) return damaged();
    entries.resize(data->size() / sizeof(Elf64_Dyn));
    std::memcpy(entries.data(), data->data(), entries.size() * sizeof(Elf64_Dyn));
  }
  std::uint64_t strings_address = 0;
  std::uint64_t strings_size = 0;
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings_address = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  ElfDependencies found;
  if (strings_size == 0) return found;
  const auto offset = file.file_offset(strings_address);
  const auto strings = offset ? file.read(*offset, strings_size) : std::nullopt;
  if (!strings || strings->back() != std::byte{0}) return damaged();
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag != DT_NEEDED && entry.d_tag != DT_RUNPATH && entry.d_tag != DT_RPATH) continue;
    if (entry.d_un.d_val >= strings->size()) return damaged();
    const char* text = reinterpret_cast<const char*>(strings->data()) + entry.d_un.d_val;
    if (entry.d_tag == DT_NEEDED) {
      found.needed.emplace_back(text);
    } else {
      found.run_path = split_run_path(text, path.parent_path());
    }
  }
  return found;
}

}  // namespace kiln
