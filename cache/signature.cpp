// SPDX-License-Identifier: Apache-2.0
#include "cache/signature.h"

#include <fmt/format.h>
#include <sodium.h>

#include "cache/key_file.h"

namespace kiln {
namespace {

constexpr std::string_view kPublicPrefix = "ed25519:";
constexpr std::string_view kSecretPrefix = "ed25519-secret:";
constexpr std::size_t kSeedBytes = crypto_sign_SEEDBYTES;

static_assert(crypto_sign_PUBLICKEYBYTES == sizeof(PublicKey));
static_assert(crypto_sign_BYTES == sizeof(Signature));
static_assert(crypto_sign_SECRETKEYBYTES == 64);

const unsigned char* data_of(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

// Fills `bytes` from exactly as many hex digits.
bool from_hex(std::string_view hex, unsigned char* bytes, std::size_t size) {
  std::size_t length = 0;
  const char* end = nullptr;
  return hex.size() == 2 * size &&
         sodium_hex2bin(bytes, size, hex.data(), hex.size(), nullptr, &length, &end) == 0 &&
         length == size;
}

Result<void> ready() {
  if (sodium_init() >= 0) return {};
  return fail(ErrorCode::internal, "libsodium cannot be initialised");
}

}  // namespace

std::string PublicKey::text() const {
  std::string text(kPublicPrefix);
  for (const std::byte byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", int(byte));
  return text;
}

std::optional<PublicKey> PublicKey::from_text(std::string_view text) {
  PublicKey key;
  if (!text.starts_with(kPublicPrefix)) return std::nullopt;
  text.remove_prefix(kPublicPrefix.size());
  auto* const bytes = reinterpret_cast<unsigned char*>(key.bytes.data());
  if (!from_hex(text, bytes, key.bytes.size())) return std::nullopt;
  return key;
}

bool is_signed_by(const PublicKey& key, ByteView message, const Signature& signature) {
  return ready() && crypto_sign_verify_detached(data_of(signature), data_of(message),
                                                message.size(), data_of(key.bytes)) == 0;
}

Result<SigningKey> SigningKey::generate() {
  KILN_TRY(ready());
  SigningKey key;
  unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
  crypto_sign_keypair(public_key, key.secret_.data());
  return key;
}

Result<SigningKey> SigningKey::read(const std::filesystem::path& file) {
  KILN_TRY(ready());
  KILN_TRY_ASSIGN(std::string text, read_key_file(file, KeyFileKind::secret));
  std::string_view hex = text;
  while (hex.ends_with('\n')) hex.remove_suffix(1);
  unsigned char seed[kSeedBytes];
  SigningKey key;
  const bool good = hex.starts_with(kSecretPrefix) &&
                    from_hex(hex.substr(kSecretPrefix.size()), seed, sizeof seed);
  if (good) {
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    crypto_sign_seed_keypair(public_key, key.secret_.data(), seed);
  }
  sodium_memzero(seed, sizeof seed);
  sodium_memzero(text.data(), text.size());
  if (good) return key;
  return fail(ErrorCode::cache_failed,
              fmt::format("'{}' holds no signing key; 'jitctl key new' makes one", file.string()));
}

SigningKey::SigningKey(SigningKey&& other) noexcept : secret_(other.secret_) {
  sodium_memzero(other.secret_.data(), other.secret_.size());
}

SigningKey::~SigningKey() {
  sodium_memzero(secret_.data(), secret_.size());
}

Result<void> SigningKey::write(const std::filesystem::path& file) const {
  char hex[2 * kSeedBytes + 1];
  sodium_bin2hex(hex, sizeof hex, secret_.data(), kSeedBytes);  // the seed comes first in it
  std::string text = fmt::format("{}{}\n", kSecretPrefix, hex);
  Result<void> written = create_key_file(file, text);
  sodium_memzero(hex, sizeof hex);
  sodium_memzero(text.data(), text.size());
  return written;
}

PublicKey SigningKey::public_key() const {
  PublicKey key;
  crypto_sign_ed25519_sk_to_pk(reinterpret_cast<unsigned char*>(key.bytes.data()), secret_.data());
  return key;
}

Signature SigningKey::sign(ByteView message) const {
  Signature signature;
  crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr,
                       data_of(message), message.size(), secret_.data());
  return signature;
}

}  // namespace kiln
