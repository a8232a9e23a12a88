// SPDX-License-Identifier: Apache-2.0
// What one compile saw and said, left in a folder for people: KILN_DUMP.
#pragma once

#include <filesystem>
#include <string_view>

#include "jit/base/artifact.h"
#include "jit/base/compile_input.h"

namespace kiln {

// Writes <folder>/<implementation, '/' as '-'>.<arch>.<compiler>.<start of the request's digest>/:
//   source/...     the source and all headers, under the names that #include uses
//   options.txt    arch, options, name expressions; the toolchain, with what it always adds
//   log.txt        the compiler's own words
//   result.txt     "ok" with the code's format and size, or the error's message
//   code.cubin ... the code, where there is some (.ptx, .hsaco, .so)
// Every compile that runs is dumped, good or bad: a kernel that is wrong when it runs is looked
// into as often as one that does not compile. Dumping the same again overwrites. Names that would
// lead out of the folder are written below it. Errors: cache_failed, naming what could not be
// written.
Result<std::filesystem::path> dump_compile(const std::filesystem::path& folder,
                                           std::string_view compiler, const Record& toolchain,
                                           const CompileInput& input,
                                           const Result<Artifact>& outcome);

}  // namespace kiln
