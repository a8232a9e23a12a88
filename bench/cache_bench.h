// SPDX-License-Identifier: Apache-2.0
// The parts of cache_bench.
#pragma once

#include <chrono>
#include <filesystem>

#include "bench/interleaved.h"

namespace kiln::bench {

inline double ns_since(std::chrono::steady_clock::time_point start) {
  const auto passed = std::chrono::steady_clock::now() - start;
  return std::chrono::duration<double, std::nano>(passed).count();
}

// Measure and print: hits in memory, hits on disk, the first hit of a fresh process.
void memory_hits(Format format);
void disk_hits(Format format);
void first_hits(Format format, bool with_a_million);

// What a process of its own does for first_hits(): prints the milliseconds from the opening of a
// store, or of its file by SQLite alone, to the first hit. The exit code of the process.
int first_hit(const std::filesystem::path& folder, int number);
int first_bare_hit(const std::filesystem::path& file, int number);

}  // namespace kiln::bench
