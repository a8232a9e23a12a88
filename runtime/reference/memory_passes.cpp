// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/memory_passes.h"

#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
// Integers, since the compiler may not reorder a sum of floats into vectors.
#define KILN_WIDE __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define KILN_WIDE
#endif

namespace kiln {

// Four streams keep more of the memory's pages open than one does: 26 GB/s where one made 23.
KILN_WIDE std::uint32_t read_pass(const void* data, std::int64_t bytes) {
  const std::int64_t quarter = bytes / 4 / std::int64_t{sizeof(std::uint32_t)};
  const auto* one = static_cast<const std::uint32_t*>(data);
  const std::uint32_t* two = one + quarter;
  const std::uint32_t* three = two + quarter;
  const std::uint32_t* four = three + quarter;
  std::uint32_t sums[4] = {};
  for (std::int64_t i = 0; i < quarter; ++i) {
    sums[0] += one[i];
    sums[1] += two[i];
    sums[2] += three[i];
    sums[3] += four[i];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

KILN_WIDE void read_modify_write_pass(void* data, std::int64_t bytes) {
  auto* words = static_cast<std::uint32_t*>(data);
  const std::int64_t count = bytes / std::int64_t{sizeof(std::uint32_t)};
  for (std::int64_t i = 0; i < count; ++i) words[i] += 1;
}

void copy_pass(void* to, const void* from, std::int64_t bytes) {
#if defined(__x86_64__)
  constexpr std::int64_t kLine = 64 / sizeof(__m128i);
  auto* line = static_cast<__m128i*>(to);
  const auto* source = static_cast<const __m128i*>(from);
  for (std::int64_t i = 0; i < bytes / std::int64_t{sizeof(__m128i)}; i += kLine) {
    for (std::int64_t j = i; j < i + kLine; ++j) _mm_stream_si128(line + j, source[j]);
  }
  _mm_sfence();
#else
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
#endif
}

}  // namespace kiln
