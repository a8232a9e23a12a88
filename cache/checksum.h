// SPDX-License-Identifier: Apache-2.0
// The checksum of an entry: what is read must be what was stored, under the key it was stored.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "jit/base/bytes.h"
#include "jit/base/key.h"

namespace kiln {

using Checksum = std::array<std::byte, 16>;

// XXH3-128 over key, label, record, info and payload, each with its length. It finds damage, not
// malice: who can write the store can write checksums.
Checksum checksum_of(const Key& key, std::string_view label, std::string_view record,
                     std::string_view info, ByteView payload);

}  // namespace kiln
