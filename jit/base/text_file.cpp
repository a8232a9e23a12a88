// SPDX-License-Identifier: Apache-2.0
#include "jit/base/text_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace kiln {

Result<std::string> read_text_file(const std::filesystem::path& file) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  // A folder opens, and fails at its first byte. An empty file gives nothing, which << calls a
  // failure of `text`.
  if (stream && stream.peek() != std::ifstream::traits_type::eof()) text << stream.rdbuf();
  if (!stream.is_open() || stream.bad()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("cannot read '{}': {}", file.string(), std::strerror(errno)));
  }
  return std::move(text).str();
}

}  // namespace kiln
