// SPDX-License-Identifier: Apache-2.0
// The kernel sources that were embedded at build time, by the name that #include uses:
// "kiln/device.h", "kda_decode/small_batch.cu".
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "jit/base/compile_input.h"

namespace kiln {

std::optional<std::string_view> find_source(std::string_view name);

// Every header that `text` reaches by #include "...", each once, in the order first reached;
// `generated` headers count as present. Conditional includes count as reached.
// Errors: internal, naming the file that is missing and who includes it.
Result<std::vector<SourceText>> reached_headers(std::string_view text,
                                                std::span<const SourceText> generated);

}  // namespace kiln
