// SPDX-License-Identifier: Apache-2.0
// BLAKE2b-256 digests: the identity of requests and toolchains.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

#include "jit/base/bytes.h"
#include "jit/base/export.h"

namespace kiln {

struct KILN_API Digest {
  static constexpr std::size_t kSize = 32;
  std::array<std::byte, kSize> bytes{};

  static Digest of(ByteView data);
  static Digest of(std::string_view text) { return of(as_bytes(text)); }
  static std::optional<Digest> from_hex(std::string_view hex);

  std::string hex() const;
  // The first 12 hex digits: enough for people to tell entries apart.
  std::string short_hex() const { return hex().substr(0, 12); }
  // 64 of its bits, for hash tables and lock offsets.
  std::uint64_t prefix() const {
    std::uint64_t value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  friend auto operator<=>(const Digest&, const Digest&) = default;
};

}  // namespace kiln

template <>
struct std::hash<kiln::Digest> {
  std::size_t operator()(const kiln::Digest& digest) const noexcept { return digest.prefix(); }
};
