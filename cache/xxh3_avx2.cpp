// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 on x86-64; empty elsewhere.
#ifdef __AVX2__
#include "cache/xxh3.h"

namespace kiln {

void xxh3_128_avx2(const HashedPiece* pieces, std::size_t count, void* hash) {
  xxh3_128(pieces, count, hash);
}

}  // namespace kiln
#endif
