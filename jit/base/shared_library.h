// SPDX-License-Identifier: Apache-2.0
// A library opened by dlopen, and its symbols.
#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "jit/base/handle.h"
#include "jit/base/result.h"

namespace kiln {

class SharedLibrary {
 public:
  // RTLD_LOCAL: symbols of one vendor's LLVM must not meet another's. RTLD_NODELETE: a vendor
  // library leaves thread-local state behind, so it stays mapped when this object is gone.
  // Errors: unavailable, with the loader's own words.
  static Result<SharedLibrary> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  // An optional symbol: null when the library lacks it.
  void* find(const char* name) const { return dlsym(handle_.get(), name); }

  // Stores a required symbol in `*function`.
  // Errors: unavailable, naming the symbol and the file.
  template <class Function>
  Result<void> require(const char* name, Function** function) const {
    *function = reinterpret_cast<Function*>(find(name));
    if (*function) return {};
    return missing(name);
  }

 private:
  struct Traits {
    static constexpr void* kNone = nullptr;
    static void close(void* handle) { dlclose(handle); }
  };

  SharedLibrary() = default;
  Result<void> missing(const char* name) const;

  std::filesystem::path path_;
  UniqueHandle<void*, Traits> handle_;
};

}  // namespace kiln
