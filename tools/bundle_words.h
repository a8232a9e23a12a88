// SPDX-License-Identifier: Apache-2.0
// What the commands about bundles share: whom to trust, what to sign with, and what to read from.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/bundle.h"
#include "cache/store.h"
#include "tools/command.h"

namespace kiln::cli {

// Whose bundles to take.
struct TrustWords {
  bool allow_unsigned = false;
  bool allow_stranger = false;

  void add_to(CLI::App& app);
  // Errors: cache_failed, when the list of trusted keys cannot be used.
  Result<BundleTrust> trust(Session& session) const;
};

// What to sign a new bundle with.
struct SignWords {
  std::string key_file;
  bool unsigned_bundle = false;

  void add_to(CLI::App& app);
  // Nothing under --unsigned. Errors: unavailable when there is no key; cache_failed.
  Result<std::optional<SigningKey>> key(Session& session) const;
};

// The store that a command reads: the writable one, or a read-only one at `layer`, which is a
// folder or a bundle. Errors: cache_failed.
struct SourceWords {
  std::string layer;
  TrustWords trust;

  void add_to(CLI::App& app);
  Result<Store*> open(Session& session);

 private:
  std::shared_ptr<Store> opened_;
};

// "signed by ed25519:... (the build farm)" or "not signed".
std::string signer_text(const std::optional<PublicKey>& signer, const TrustedKeys& keys);
Json signer_json(const std::optional<PublicKey>& signer);

}  // namespace kiln::cli
