// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_object.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

namespace kiln {
namespace {

Result<KilnSimtMark> mark_of(ByteView code) {
  const std::string_view text = as_text(code);
  const std::size_t at = text.find(std::string_view(kKilnSimtMagic, sizeof kKilnSimtMagic));
  KilnSimtMark mark;
  if (at == std::string_view::npos || text.size() - at < sizeof mark) {
    return fail(ErrorCode::driver_failed,
                "the code was not compiled for the SIMT machine: it has no mark of it (does its "
                "source include a header of kiln/?)");
  }
  std::memcpy(&mark, text.data() + at, sizeof mark);
  if (mark.abi_version != kKilnSimtAbiVersion) {
    return fail(ErrorCode::driver_failed,
                fmt::format("the code speaks version {} of the SIMT machine's ABI, this Kiln {}",
                            mark.abi_version, kKilnSimtAbiVersion));
  }
  return mark;
}

}  // namespace

Result<SimtObject> SimtObject::load(ByteView code) {
  KILN_TRY_ASSIGN(const KilnSimtMark mark, mark_of(code));
  SimtObject object(mark);
  if (mark.debug != 0) {
    KILN_TRY(object.load_from_file(code));
    return object;
  }
  KILN_TRY_ASSIGN(MemoryObject memory, MemoryObject::load(code));
  object.memory_.emplace(std::move(memory));
  return object;
}

Result<void> SimtObject::load_from_file(ByteView code) {
  std::error_code error;
  std::string pattern = (std::filesystem::temp_directory_path(error) / "kiln-simt-XXXXXX").string();
  if (error || !mkdtemp(pattern.data())) {
    return fail(ErrorCode::driver_failed,
                fmt::format("cannot make a temporary folder for a kernel to debug: '{}': {}",
                            pattern, std::strerror(errno)));
  }
  folder_ = pattern;
  const std::filesystem::path path = folder_ / "kernel.so";
  std::ofstream file(path, std::ios::binary);
  file.write(as_text(code).data(), static_cast<std::streamsize>(code.size()));
  file.close();
  if (!file) {
    return fail(ErrorCode::driver_failed, fmt::format("cannot write '{}'", path.string()));
  }
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_) return {};
  const char* reason = dlerror();
  return fail(ErrorCode::driver_failed, fmt::format("cannot load a kernel of {} bytes: {}",
                                                    code.size(), reason ? reason : "no reason"));
}

SimtObject::SimtObject(SimtObject&& other) noexcept
    : mark_(other.mark_),
      memory_(std::move(other.memory_)),
      handle_(std::exchange(other.handle_, nullptr)),
      folder_(std::exchange(other.folder_, {})) {}

SimtObject::~SimtObject() {
  if (handle_) dlclose(handle_);
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void* SimtObject::find(const std::string& symbol) const {
  return memory_ ? memory_->find(symbol) : dlsym(handle_, symbol.c_str());
}

}  // namespace kiln
