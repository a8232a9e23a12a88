// SPDX-License-Identifier: Apache-2.0
#include "cache/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstring>

namespace kiln {

Checksum checksum_of(const Key& key, std::string_view label, std::string_view record,
                     std::string_view info, ByteView payload) {
  static_assert(std::endian::native == std::endian::little, "lengths are hashed as they lie");
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  const auto add = [&](ByteView bytes) {
    const std::uint64_t size = bytes.size();
    XXH3_128bits_update(&state, &size, sizeof size);
    XXH3_128bits_update(&state, bytes.data(), bytes.size());
  };
  add(key.request.bytes);
  add(key.toolchain.bytes);
  add(as_bytes(label));
  add(as_bytes(record));
  add(as_bytes(info));
  add(payload);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
  Checksum checksum;
  static_assert(sizeof canonical == sizeof checksum);
  std::memcpy(checksum.data(), &canonical, sizeof checksum);
  return checksum;
}

}  // namespace kiln
