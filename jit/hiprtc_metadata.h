// SPDX-License-Identifier: Apache-2.0
// What an AMD code object says of its kernels.
#pragma once

#include <map>
#include <string>

#include "jit/base/artifact.h"

namespace kiln {

// The resources of each kernel, by its symbol, from the metadata note (NT_AMDGPU_METADATA, code
// object version 3 and later). `code` may be any bytes.
// Errors: compile_failed, saying what is missing or damaged.
Result<std::map<std::string, KernelResources, std::less<>>> read_hiprtc_metadata(ByteView code);

}  // namespace kiln
