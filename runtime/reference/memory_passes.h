// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but move memory, as fast as one core can: what bandwidths are measured by.
// Pointers are aligned to 64 bytes and sizes are multiples of kPassBytes. Host only.
#pragma once

#include <cstdint>

namespace kiln {

inline constexpr std::int64_t kPassBytes = 4096;

// Reads every byte once; returns a sum that depends on all of them.
std::uint32_t read_pass(const void* data, std::int64_t bytes);

// Reads and writes every byte once.
void read_modify_write_pass(void* data, std::int64_t bytes);

// Reads every byte of `from` and writes as many to `to`, past the caches where the host can: these
// are not read before they are written.
void copy_pass(void* to, const void* from, std::int64_t bytes);

}  // namespace kiln
