// SPDX-License-Identifier: Apache-2.0
// Ed25519 keys and signatures: who vouches for a bundle.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "jit/base/bytes.h"
#include "jit/base/result.h"

namespace kiln {

struct PublicKey {
  std::array<std::byte, 32> bytes{};

  // "ed25519:" and 64 hex digits: what people exchange and write into a list of trusted keys.
  std::string text() const;
  static std::optional<PublicKey> from_text(std::string_view text);
  friend auto operator<=>(const PublicKey&, const PublicKey&) = default;
};

using Signature = std::array<std::byte, 64>;

bool is_signed_by(const PublicKey& key, ByteView message, const Signature& signature);

// A secret key; its bytes are wiped with it.
class SigningKey {
 public:
  static Result<SigningKey> generate();
  // Errors: cache_failed: a file that cannot be read, holds no key, is a symbolic link, belongs to
  // another user or may be read by one.
  static Result<SigningKey> read(const std::filesystem::path& file);
  SigningKey(SigningKey&& other) noexcept;
  SigningKey& operator=(SigningKey&&) = delete;
  ~SigningKey();

  // Makes `file` as 0600, its folder as 0700 where that is missing. Errors: cache_failed, also when
  // there is a file already: a key that is overwritten is lost.
  Result<void> write(const std::filesystem::path& file) const;
  PublicKey public_key() const;
  Signature sign(ByteView message) const;

 private:
  SigningKey() = default;
  std::array<unsigned char, 64> secret_{};
};

}  // namespace kiln
