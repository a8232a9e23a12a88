// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/memory_object.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kiln {
namespace {

// The loader maps what the headers promise and would crash on an object that ends before.
bool is_whole(ByteView code) {
  Elf64_Ehdr header;
  if (code.size() < sizeof header) return false;
  std::memcpy(&header, code.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > code.size() ||
      header.e_phnum > (code.size() - header.e_phoff) / sizeof(Elf64_Phdr)) {
    return false;
  }
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, code.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_offset > code.size() || segment.p_filesz > code.size() - segment.p_offset) {
      return false;
    }
  }
  return true;
}

}  // namespace

void MemoryObject::Traits::close(void* handle) {
  dlclose(handle);
}

Result<MemoryObject> MemoryObject::load(ByteView code) {
  if (!is_whole(code)) {
    return fail(
        ErrorCode::driver_failed,
        fmt::format("cannot load a kernel of {} bytes: it is no whole ELF object", code.size()));
  }
  Fd file(memfd_create("kiln-kernel", MFD_CLOEXEC));
  std::size_t done = 0;
  while (file && done < code.size()) {
    const ssize_t written = write(file.get(), code.data() + done, code.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += static_cast<std::size_t>(written);
  }
  if (!file || done < code.size()) {
    return fail(ErrorCode::out_of_memory,
                fmt::format("cannot hold a kernel of {} bytes in memory: {}", code.size(),
                            std::strerror(errno)));
  }
  std::string path = fmt::format("/proc/self/fd/{}", file.get());
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* reason = dlerror();
    return fail(ErrorCode::driver_failed,
                fmt::format("cannot load a kernel of {} bytes: {}", code.size(),
                            reason ? reason : "no reason given"));
  }
  return MemoryObject(std::move(file), handle, std::move(path));
}

MemoryObject::~MemoryObject() {
  if (!handle_) return;
  handle_.reset();
  // Should the loader keep it in spite of dlclose, its name must never be used for another file.
  if (void* kept = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) {
    dlclose(kept);
    (void)file_.release();
  }
}

void* MemoryObject::find(const std::string& symbol) const {
  return dlsym(handle_.get(), symbol.c_str());
}

}  // namespace kiln
