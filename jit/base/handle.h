// SPDX-License-Identifier: Apache-2.0
// Owners for C handles: one line per kind of handle, closed exactly once.
#pragma once

#include <unistd.h>

#include <utility>

namespace kiln {

// Owns a `Handle` that `Traits::close` releases; `Traits::kNone` stands for no handle.
template <class Handle, class Traits>
class UniqueHandle {
 public:
  UniqueHandle() = default;
  explicit UniqueHandle(Handle handle) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(other.release()) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { reset(); }

  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != Traits::kNone; }
  Handle release() { return std::exchange(handle_, Traits::kNone); }
  void reset(Handle handle = Traits::kNone) {
    const Handle old = std::exchange(handle_, handle);
    if (old != Traits::kNone) Traits::close(old);
  }

 private:
  Handle handle_ = Traits::kNone;
};

struct FdTraits {
  static constexpr int kNone = -1;
  static void close(int fd) { ::close(fd); }
};
using Fd = UniqueHandle<int, FdTraits>;

}  // namespace kiln
