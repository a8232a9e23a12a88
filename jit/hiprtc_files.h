// SPDX-License-Identifier: Apache-2.0
// The files that hipRTC consists of, found and identified without loading any.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jit/base/library_search.h"
#include "jit/base/record.h"
#include "jit/compilers.h"

namespace kiln {

struct HiprtcFiles {
  LibraryLocation library;                      // libhiprtc.so.* or libamdhip64.so.5
  std::vector<std::filesystem::path> builtins;  // libhiprtc-builtins.so.* beside it, if any
  LibraryLocation comgr;                        // the compiler below it
  std::vector<std::filesystem::path> llvm;      // the LLVM that comgr names, if not inside it
  Record toolchain;
};

// What hipRTC is given in every compile besides the arch and the options of the input.
std::vector<std::string> hiprtc_options();

// Errors: unavailable, saying which library was looked for where and how to get it.
Result<HiprtcFiles> find_hiprtc_files(const CompilerSettings& settings,
                                      std::vector<LibraryAttempt>* attempts);

}  // namespace kiln
