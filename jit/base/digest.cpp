// SPDX-License-Identifier: Apache-2.0
#include "jit/base/digest.h"

#include <sodium.h>

namespace kiln {

Digest Digest::of(ByteView data) {
  static_assert(kSize == crypto_generichash_BYTES);
  Digest digest;
  // crypto_generichash is BLAKE2b. It fails only for an impossible output size.
  crypto_generichash(reinterpret_cast<unsigned char*>(digest.bytes.data()), kSize,
                     reinterpret_cast<const unsigned char*>(data.data()), data.size(), nullptr, 0);
  return digest;
}

std::string Digest::hex() const {
  std::string text(2 * kSize + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                 kSize);
  text.pop_back();
  return text;
}

std::optional<Digest> Digest::from_hex(std::string_view hex) {
  Digest digest;
  std::size_t length = 0;
  const char* end = nullptr;
  const int status = sodium_hex2bin(reinterpret_cast<unsigned char*>(digest.bytes.data()), kSize,
                                    hex.data(), hex.size(), nullptr, &length, &end);
  if (status != 0 || length != kSize || end != hex.data() + hex.size()) return std::nullopt;
  return digest;
}

}  // namespace kiln
