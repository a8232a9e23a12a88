// SPDX-License-Identifier: Apache-2.0
#include "cache/checksum.h"

#include <bit>
#include <cstdint>

#include "cache/xxh3.h"

namespace kiln {
namespace {

using Xxh3 = void(const HashedPiece* pieces, std::size_t count, void* hash);

Xxh3* fastest_xxh3() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return xxh3_128_avx2;
#endif
  return xxh3_128;
}

}  // namespace

Checksum checksum_of(const Key& key, std::string_view label, std::string_view record,
                     std::string_view info, ByteView payload) {
  static_assert(std::endian::native == std::endian::little, "lengths are hashed as they lie");
  static Xxh3* const xxh3 = fastest_xxh3();
  const ByteView parts[] = {key.request.bytes, key.toolchain.bytes, as_bytes(label),
                            as_bytes(record),  as_bytes(info),      payload};
  constexpr std::size_t kParts = std::size(parts);
  std::uint64_t sizes[kParts];
  HashedPiece pieces[2 * kParts];
  for (std::size_t i = 0; i < kParts; ++i) {
    sizes[i] = parts[i].size();
    pieces[2 * i] = {&sizes[i], sizeof sizes[i]};
    pieces[2 * i + 1] = {parts[i].data(), parts[i].size()};
  }
  Checksum checksum;
  static_assert(sizeof(XXH128_canonical_t) == sizeof checksum);
  xxh3(pieces, std::size(pieces), checksum.data());
  return checksum;
}

}  // namespace kiln
