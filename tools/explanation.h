// SPDX-License-Identifier: Apache-2.0
// An Explanation as text and as JSON, for every command that tells why there was a miss.
#pragma once

#include "tools/session.h"

namespace kiln::cli {

// The entry and what of it differs: "nearest" of a missing kernel. Null where there is none.
Json nearest_to_json(const Explanation& explanation);
Json to_json(const Explanation& explanation);
// A few lines, "name   value" each.
void print(const Explanation& explanation);

}  // namespace kiln::cli
