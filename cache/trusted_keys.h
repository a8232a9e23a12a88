// SPDX-License-Identifier: Apache-2.0
// The keys whose bundles are accepted.
//
// A text file, one key per line: "ed25519:<64 hex digits>", then a name for people. Empty lines and
// lines that begin with '#' count for nothing.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cache/signature.h"

namespace kiln {

struct TrustedKey {
  PublicKey key;
  std::string name;  // may be empty
};

class TrustedKeys {
 public:
  TrustedKeys() = default;  // nobody is trusted

  // A file that does not exist trusts nobody. It must belong to the user or root, as its folder,
  // and be writable by nobody else. Errors: cache_failed, with the rule or the line.
  static Result<TrustedKeys> read(const std::filesystem::path& file);
  static Result<TrustedKeys> parse(std::string_view text, std::string_view where);

  // Adds a line to the file, which is made where it is missing. Whether the key was new.
  // Errors: as read().
  static Result<bool> append(const std::filesystem::path& file, const TrustedKey& key);

  // Null when it is not among them.
  const TrustedKey* find(const PublicKey& key) const;
  std::span<const TrustedKey> all() const { return keys_; }
  void add(TrustedKey key) { keys_.push_back(std::move(key)); }

  // Where they were read from, for messages; may be empty.
  const std::string& where() const { return where_; }

 private:
  std::vector<TrustedKey> keys_;
  std::string where_;
};

}  // namespace kiln
