// SPDX-License-Identifier: Apache-2.0
#include "jit/base/shared_library.h"

#include <fmt/format.h>

namespace kiln {

Result<SharedLibrary> SharedLibrary::open(const std::filesystem::path& path) {
  SharedLibrary library;
  library.path_ = path;
  library.handle_.reset(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE));
  if (!library.handle_) {
    const char* reason = dlerror();
    return fail(ErrorCode::unavailable, fmt::format("cannot load '{}': {}", path.string(),
                                                    reason ? reason : "no reason given"));
  }
  return library;
}

Result<void> SharedLibrary::missing(const char* name) const {
  return fail(ErrorCode::unavailable,
              fmt::format("'{}' has no function '{}', which Kiln needs; use another version of it",
                          path_.string(), name));
}

}  // namespace kiln
