// SPDX-License-Identifier: Apache-2.0
// The table that embed.cmake generates.
#pragma once

#include <span>
#include <string_view>

namespace kiln {

struct EmbeddedFile {
  std::string_view name;
  std::string_view text;
};
std::span<const EmbeddedFile> embedded_files();

}  // namespace kiln
