// SPDX-License-Identifier: Apache-2.0
// Why a look-up missed: the stored entry most like the one asked for, and what differs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cache/store.h"
#include "jit/base/key.h"

namespace kiln {

struct NearestEntry {
  StoreRow row;
  std::vector<RecordDifference> differences;  // before: stored, after: asked for
};

// The entry of the same op with the fewest differing fields; nothing when the op has none. With an
// empty toolchain, only the requests are compared. Among a million entries it looks at the few
// thousand with the most similar labels and the latest uses.
// Errors: those of Store::list.
Result<std::optional<NearestEntry>> nearest_entry(Store& store, const KeyRecord& asked,
                                                  std::string_view label);

// "nearest entry 'kda_decode/cpu H=32' (key 0f3a) differs in shape.H: stored int 32, asked int 16":
// one line for a message. `key` is hex digits that 'jitctl show' takes.
std::string describe(std::string_view label, std::string_view key,
                     const std::vector<RecordDifference>& differences);

}  // namespace kiln
