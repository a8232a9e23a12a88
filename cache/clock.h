// SPDX-License-Identifier: Apache-2.0
// The time that the store writes.
#pragma once

#include <chrono>
#include <cstdint>

namespace kiln {

// Microseconds since the epoch: seconds would not tell the entries of one burst apart.
inline std::int64_t now_us() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

}  // namespace kiln
