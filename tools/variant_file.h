// SPDX-License-Identifier: Apache-2.0
// Attention variants from files: a JSON object with the members of AttentionVariant.
#pragma once

#include <string>

#include "jit/base/result.h"

namespace kiln::cli {

// Makes the variant known to this process by its name. Errors: invalid_argument, naming the file
// and the member; those of add_attention_variant().
Result<void> add_variant_file(const std::string& file);

}  // namespace kiln::cli
