// SPDX-License-Identifier: Apache-2.0
// Why a request would hit or miss, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/export.h"
#include "jit/base/key.h"
#include "jit/base/record.h"
#include "jit/base/result.h"

namespace kiln {

// Where an artifact came from.
enum class Tier { memory, disk, layer, compiled };
KILN_API std::string_view name_of(Tier tier);

// A stored entry, without its code.
struct StoredEntry {
  Tier tier = Tier::disk;
  std::string file;  // of the store or layer that holds it
  std::string label;
  Key key;
  Record toolchain;      // what compiled it
  std::string compiler;  // "nvrtc"; empty where its notes cannot be read
  double compile_time_ms = 0;
  std::int64_t created_s = 0;    // seconds since the epoch
  std::int64_t last_used_s = 0;  // refreshed in batches
};

struct Explanation {
  std::string label;
  Digest request;

  // What the key's other half would be here: one per compiler of the arch's chain.
  struct Toolchain {
    std::string compiler;
    std::optional<Record> record;
    std::string why_not;  // where there is no record: why it was not found
  };
  std::vector<Toolchain> toolchains;

  std::vector<std::string> looked_in;  // of a miss: files, in the order of the look-up
  std::vector<Error> not_readable;     // why a store or layer was not looked in

  std::optional<StoredEntry> hit;
  // The hit was made by another compiler: policy `any`, and none can be found here.
  bool is_other_toolchain = false;

  // Of a miss: the stored entry of the same op with the fewest differing fields. `before` is what
  // it has, `after` what was asked for.
  std::optional<StoredEntry> nearest;
  std::vector<RecordDifference> differences;
};

}  // namespace kiln
