// SPDX-License-Identifier: Apache-2.0
#include "tools/bundle_words.h"

#include <fmt/format.h>

#include "cache/bundle_store.h"

namespace kiln::cli {

void TrustWords::add_to(CLI::App& app) {
  app.add_flag("--allow-unsigned", allow_unsigned, "Take a bundle whoever signed it, or nobody");
  app.add_flag("--allow-stranger", allow_stranger,
               "Take a bundle with any valid signature, not just of trusted keys");
}

Result<BundleTrust> TrustWords::trust(Session& session) const {
  BundleTrust trust;
  if (allow_stranger) trust.rule = SignatureRule::anybody;
  if (allow_unsigned) trust.rule = SignatureRule::none;
  KILN_TRY_ASSIGN(const Options* const options, session.options());
  if (options->trusted_keys_file) {
    KILN_TRY_ASSIGN(trust.keys, TrustedKeys::read(*options->trusted_keys_file));
  }
  return trust;
}

void SignWords::add_to(CLI::App& app) {
  app.add_option("--key", key_file, "Sign with this key; default KILN_SIGNING_KEY or your own");
  app.add_flag("--unsigned", unsigned_bundle, "Do not sign it")->excludes("--key");
}

Result<std::optional<SigningKey>> SignWords::key(Session& session) const {
  if (unsigned_bundle) return std::nullopt;
  KILN_TRY_ASSIGN(const Options* const options, session.options());
  const auto file =
      key_file.empty() ? options->signing_key_file : std::optional<std::filesystem::path>(key_file);
  if (!file) {
    return fail(ErrorCode::cache_failed,
                "no key to sign with: neither --key nor KILN_SIGNING_KEY nor HOME is set; "
                "--unsigned goes without");
  }
  auto key = SigningKey::read(*file);
  if (key) return std::optional<SigningKey>(std::move(*key));
  Error error = std::move(key).error();
  if (error.code == ErrorCode::unavailable) {
    error.code = ErrorCode::cache_failed;
    error.message += "; 'jitctl key new' makes a key to sign with, --unsigned goes without";
  }
  return kiln::fail(std::move(error));
}

void SourceWords::add_to(CLI::App& app) {
  app.add_option("--layer", layer, "Read this cache folder or bundle instead of the cache");
  trust.add_to(app);
}

Result<Store*> SourceWords::open(Session& session) {
  if (layer.empty()) return session.store();
  std::error_code ignored;
  if (std::filesystem::is_directory(layer, ignored)) {
    StoreOptions options;
    options.folder = layer;
    options.access = StoreAccess::read_only;
    KILN_TRY_ASSIGN(opened_, Store::open(options));
  } else {
    KILN_TRY_ASSIGN(const BundleTrust trusted, trust.trust(session));
    KILN_TRY_ASSIGN(opened_, open_bundle_store(layer, trusted));
  }
  return opened_.get();
}

std::string signer_text(const std::optional<PublicKey>& signer, const TrustedKeys& keys) {
  if (!signer) return "not signed";
  const TrustedKey* const known = keys.find(*signer);
  if (!known) return fmt::format("signed by {}", signer->text());
  return fmt::format("signed by {} ({})", signer->text(),
                     known->name.empty() ? "trusted" : known->name);
}

Json signer_json(const std::optional<PublicKey>& signer) {
  return signer ? Json(signer->text()) : Json(nullptr);
}

}  // namespace kiln::cli
