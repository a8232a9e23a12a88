// SPDX-License-Identifier: Apache-2.0
// The bytes of a bundle, all numbers little-endian:
//
//   header   160 bytes  magic, version, entries, file size, BLAKE2b-256 of the index; public key
//   and
//                       Ed25519 signature, zeros where unsigned
//   blobs               one per entry, in the order of the index, nothing between them
//   index    112 bytes per entry, strictly ascending by key; ends the file
//
// A blob is the text of a Record (label, record, info, payload), compressed with zstd on its own
// unless it is stored as it is: then both sizes of its row are equal.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "cache/signature.h"
#include "jit/base/digest.h"
#include "jit/base/key.h"

namespace kiln {

static_assert(std::endian::native == std::endian::little, "bundles are read as they lie");

inline constexpr std::array<char, 8> kBundleMagic = {'K', 'I', 'L', 'N', 'B', 'N', 'D', 'L'};
inline constexpr std::uint32_t kBundleVersion = 1;

// What is signed: everything before the key, behind a name that no other use of a key shares.
inline constexpr std::string_view kBundleDomain = "kiln bundle signature 1\n";
inline constexpr std::size_t kBundleSignedBytes = 64;

struct BundleHeader {
  std::array<char, 8> magic{};
  std::uint32_t version = 0;
  std::uint32_t reserved = 0;  // zero
  std::uint64_t entries = 0;
  std::uint64_t file_bytes = 0;
  Digest index_digest;
  PublicKey signer;
  Signature signature{};
};
static_assert(sizeof(BundleHeader) == 160 && offsetof(BundleHeader, signer) == kBundleSignedBytes);
static_assert(std::is_trivially_copyable_v<BundleHeader>);

struct BundleRow {
  Key key;
  Digest digest;  // BLAKE2b-256 of the stored bytes
  std::uint64_t stored_bytes = 0;
  std::uint64_t raw_bytes = 0;
};
static_assert(sizeof(BundleRow) == 112 && std::is_trivially_copyable_v<BundleRow>);

inline constexpr std::uint64_t kBundleEntriesMax = std::uint64_t{1} << 24;
inline constexpr std::uint64_t kBundleEntryBytesMax = std::uint64_t{256} << 20;
// What is smaller compressed than a hundredth is stored as it is, so that no small file can ask for
// much memory.
inline constexpr std::uint64_t kBundleRatioMax = 100;

// The bytes that the header's signature is made over.
Bytes signed_message(const BundleHeader& header);

}  // namespace kiln
