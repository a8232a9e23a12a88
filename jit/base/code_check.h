// SPDX-License-Identifier: Apache-2.0
// Whether an artifact's code can be what it says, as far as that shows without loading it.
#pragma once

#include "jit/base/answer.h"
#include "jit/base/artifact.h"

namespace kiln {

// ELF formats: the right machine, every table and section inside the file, and each entry point
// defined. PTX: its directives, each entry point, and its braces. No for an artifact with no entry
// point.
Answer check_code(const Artifact& artifact);

}  // namespace kiln
