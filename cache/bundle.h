// SPDX-License-Identifier: Apache-2.0
// Bundle: a file of entries to carry elsewhere, signed, read without unpacking it.
//
// Opening reads and checks the header and the index alone; an entry is read, checked and unpacked
// when it is asked for. Nothing in the file is believed: sizes are compared with the file before
// memory is taken, and an entry is returned only when its bytes have the digest in the signed index
// and its record is the one that its key was made from. There are no names of files in it.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "cache/bundle_layout.h"
#include "cache/store.h"
#include "cache/trusted_keys.h"
#include "jit/base/handle.h"

namespace kiln {

// Who must have signed a bundle. Bytes that do not fit the digests are refused in any case.
enum class SignatureRule {
  trusted,  // one of the trusted keys
  anybody,  // a valid signature, whoever made it
  none,     // it is not looked at
};

struct BundleTrust {
  TrustedKeys keys;
  SignatureRule rule = SignatureRule::trusted;
};

// All functions may be called from any thread.
class Bundle {
 public:
  // Errors: cache_failed with what is wrong with the file, or who signed it.
  static Result<Bundle> open(const std::filesystem::path& file, const BundleTrust& trust);
  // The same for an open file; `name` is for messages.
  static Result<Bundle> open(Fd fd, std::string name, const BundleTrust& trust);

  // In ascending order of their keys.
  std::span<const BundleRow> rows() const { return rows_; }
  // The place among the rows, or nothing.
  std::optional<std::size_t> find(const Key& key) const;
  // Errors: cache_failed with what is wrong with the entry.
  Result<StoreEntry> read(std::size_t index) const;
  // The entry as it lies in the file. Errors: as read().
  Result<Bytes> read_stored(std::size_t index) const;

  // Whose valid signature it has, if any.
  std::optional<PublicKey> signer() const { return signer_; }
  const std::string& name() const { return name_; }
  std::uint64_t file_bytes() const { return header_.file_bytes; }

 private:
  Bundle(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  Result<void> read_header(std::uint64_t file_bytes);
  Result<void> read_index();
  Result<void> check_signature(const BundleTrust& trust);
  Result<StoreEntry> unpack(const BundleRow& row, ByteView stored) const;
  Result<Bytes> read_at(std::uint64_t offset, std::uint64_t size) const;
  tl::unexpected<Error> refuse(std::string_view why) const;

  Fd fd_;
  std::string name_;
  BundleHeader header_;
  std::optional<PublicKey> signer_;
  std::vector<BundleRow> rows_;
  std::vector<std::uint64_t> offsets_;  // of each row's blob
};

}  // namespace kiln
