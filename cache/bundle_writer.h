// SPDX-License-Identifier: Apache-2.0
// BundleWriter: makes a bundle that is the same, byte for byte, whoever makes it.
//
// What goes in: keys, labels, records and payloads, and of `info` the fields that are equal on each
// machine (the compiler's name). What does not: times, names of hosts, users and files, the order
// in which the entries were put, how many threads ran. Ed25519 signatures are reproducible too.
// Only the version of libzstd counts: another one may compress the same entries to other bytes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/bundle_layout.h"
#include "cache/store.h"
#include "jit/base/handle.h"

namespace kiln {

class BundleWriter {
 public:
  // Writes beside `file` and replaces it in finish(). Errors: cache_failed.
  static Result<BundleWriter> create(const std::filesystem::path& file);
  BundleWriter(BundleWriter&&) = default;
  ~BundleWriter();  // unless finished, nothing stays

  // In strictly ascending order of keys. Errors: cache_failed: larger than a bundle's entries may
  // be, a full disk; internal: out of order.
  Result<void> add(const Key& key, const StoreEntry& entry);
  // Signs with `key` where there is one, and puts the file in place.
  Result<void> finish(const SigningKey* key);

  std::uint64_t file_bytes() const { return offset_; }

 private:
  BundleWriter(std::filesystem::path file, std::string temporary, Fd fd);
  Result<void> write(ByteView bytes, std::uint64_t offset) const;

  std::filesystem::path file_;
  std::string temporary_;
  Fd fd_;
  std::uint64_t offset_ = sizeof(BundleHeader);
  std::vector<BundleRow> rows_;
};

}  // namespace kiln
