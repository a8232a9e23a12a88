// SPDX-License-Identifier: Apache-2.0
// Opens the driver library that this process uses.
#pragma once

#include "jit/base/library_search.h"
#include "jit/base/shared_library.h"

namespace kiln {

// The override if there is one, else the one of `query.sonames` that is already in this process,
// else as find_library. A second copy beside the one that the host program uses would know none of
// the host's streams and memory.
// Errors: unavailable.
Result<SharedLibrary> open_gpu_library(const LibraryQuery& query);

}  // namespace kiln

// For the symbol list of a library: loads one row of it into `api` from `library`.
#define KILN_GPU_REQUIRE(name, parameters) KILN_TRY(library.require(#name, &api.name));
#define KILN_GPU_PROBE(name, parameters) \
  api.name = reinterpret_cast<decltype(api.name)>(library.find(#name));
