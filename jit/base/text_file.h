// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "jit/base/result.h"

namespace kiln {

// The whole of a file that a user named. Errors: invalid_argument: "cannot read 'FILE': " and the
// system's reason, which for a folder is that it is one.
Result<std::string> read_text_file(const std::filesystem::path& file);

}  // namespace kiln
