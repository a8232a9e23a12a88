// SPDX-License-Identifier: Apache-2.0
// The key of an entry: what was asked for, and what compiled it.
#pragma once

#include "jit/base/digest.h"
#include "jit/base/record.h"

namespace kiln {

struct Key {
  Digest request;
  Digest toolchain;
  friend auto operator<=>(const Key&, const Key&) = default;
};

// The readable form, from which the digests are made; compared in full on every hit.
struct KeyRecord {
  Record request;
  Record toolchain;

  Key key() const { return {request.digest(), toolchain.digest()}; }
  // Both as one record, fields prefixed "request." and "toolchain.": what the store keeps.
  Record joined() const {
    Record record;
    record.add_all("request", request);
    record.add_all("toolchain", toolchain);
    return record;
  }
  // The halves again. Errors: cache_failed, when `text` is not, byte for byte, the text of a joined
  // record.
  static Result<KeyRecord> split(std::string_view text);
};

}  // namespace kiln

template <>
struct std::hash<kiln::Key> {
  std::size_t operator()(const kiln::Key& key) const noexcept {
    return key.request.prefix() ^ (key.toolchain.prefix() * 0x9e3779b97f4a7c15ULL);
  }
};
