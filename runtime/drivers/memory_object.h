// SPDX-License-Identifier: Apache-2.0
// A shared object loaded from bytes, with no file and no LLVM.
#pragma once

#include <string>

#include "jit/base/bytes.h"
#include "jit/base/handle.h"
#include "jit/base/result.h"

namespace kiln {

class MemoryObject {
 public:
  // Errors: driver_failed, with the loader's words: the bytes are no object that this process can
  // load, or need a symbol that it lacks.
  static Result<MemoryObject> load(ByteView code);
  MemoryObject(MemoryObject&&) = default;
  MemoryObject& operator=(MemoryObject&&) = delete;
  ~MemoryObject();

  // Null when there is no such symbol.
  void* find(const std::string& symbol) const;

 private:
  MemoryObject(Fd file, void* handle, std::string path)
      : file_(std::move(file)), handle_(handle), path_(std::move(path)) {}

  struct Traits {
    static constexpr void* kNone = nullptr;
    static void close(void* handle);
  };
  // Open for as long as the object is loaded: the loader knows it by its /proc/self/fd name, and
  // would hand it out again for a new file that got the same number.
  Fd file_;
  UniqueHandle<void*, Traits> handle_;
  std::string path_;
};

}  // namespace kiln
