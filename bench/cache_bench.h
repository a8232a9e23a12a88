// SPDX-License-Identifier: Apache-2.0
// The parts of cache_bench.
#pragma once

#include <chrono>

#include "bench/interleaved.h"

namespace kiln::bench {

inline double ns_since(std::chrono::steady_clock::time_point start) {
  const auto passed = std::chrono::steady_clock::now() - start;
  return std::chrono::duration<double, std::nano>(passed).count();
}

// Measures hits in memory and prints them.
void memory_hits(Format format);

}  // namespace kiln::bench
