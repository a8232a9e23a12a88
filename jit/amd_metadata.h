// SPDX-License-Identifier: Apache-2.0
// What an AMD code object says of its kernels.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "jit/base/artifact.h"

namespace kiln {

struct AmdKernel {
  KernelResources resources;
  int warp_size = 0;
  int argument_bytes = 0;  // of the kernel's arguments and those that the runtime adds
};

struct AmdCodeObject {
  std::string target;  // "amdgcn-amd-amdhsa--gfx942:xnack-"; not in code objects of version 3
  std::map<std::string, AmdKernel, std::less<>> kernels;  // by symbol
};

// From the metadata note (NT_AMDGPU_METADATA, code object version 3 and later). `code` may be any
// bytes.
// Errors: compile_failed, saying what is missing or damaged.
Result<AmdCodeObject> read_amd_metadata(ByteView code);

// The entry points that `symbols` (one for each name expression) are in `code`.
// Errors: as above; compile_failed, for a symbol that is no kernel in it.
Result<std::vector<EntryPoint>> amd_entry_points(ByteView code,
                                                 const std::vector<std::string>& name_expressions,
                                                 const std::vector<std::string>& symbols);

}  // namespace kiln
