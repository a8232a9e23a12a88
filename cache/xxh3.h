// SPDX-License-Identifier: Apache-2.0
// XXH3-128 over several pieces, for the sources that are compiled once per instruction set.
//
// All of it has internal linkage and it includes nothing of the C++ library: an inline function
// that two of them shared could end up as the one that this processor cannot run.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <cstring>

namespace kiln {

struct HashedPiece {
  const void* data;
  std::size_t size;
};

namespace {

// Writes the canonical 16 bytes to `hash`.
inline void xxh3_128(const HashedPiece* pieces, std::size_t count, void* hash) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (std::size_t i = 0; i < count; ++i) {
    XXH3_128bits_update(&state, pieces[i].data, pieces[i].size);
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
  std::memcpy(hash, &canonical, sizeof canonical);
}

}  // namespace

// xxh3_128() by AVX2, twice as fast as by what every x86-64 has; for processors that have it.
void xxh3_128_avx2(const HashedPiece* pieces, std::size_t count, void* hash);

}  // namespace kiln
