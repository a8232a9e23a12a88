// SPDX-License-Identifier: Apache-2.0
// Bundles for tests: entries whose records have the digests of their keys, and damage.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "cache/bundle.h"
#include "cache/bundle_writer.h"
#include "tests/cache/support.h"

namespace kiln::test {

struct KeyedEntry {
  Key key;
  StoreEntry entry;
};

// Deterministic, different for each number, with a payload that compresses a little.
inline KeyedEntry keyed_entry(int number, std::size_t payload_bytes = 1000,
                              std::string_view toolchain = "nvrtc 13.0") {
  KeyRecord record;
  record.request.add("op", number % 2 ? "router_gemm" : "kda_decode");
  record.request.add("number", number);
  record.toolchain.add("compiler", toolchain);
  StoreEntry entry = entry_of(number, payload_bytes);
  entry.record = record.joined().text();
  Record info;
  info.add("compiler", "nvrtc");
  info.add("compile_time_ms", fmt::format("{}", number * 10));
  entry.info = info.text();
  std::fill_n(entry.payload.begin(), payload_bytes / 2, std::byte{7});
  return {record.key(), std::move(entry)};
}

inline std::vector<KeyedEntry> keyed_entries(int count) {
  std::vector<KeyedEntry> entries;
  for (int i = 0; i < count; ++i) entries.push_back(keyed_entry(i));
  std::sort(entries.begin(), entries.end(),
            [](const KeyedEntry& a, const KeyedEntry& b) { return a.key < b.key; });
  return entries;
}

inline void write_bundle(const std::filesystem::path& file, const std::vector<KeyedEntry>& entries,
                         const SigningKey* key = nullptr) {
  BundleWriter writer = BundleWriter::create(file).value();
  for (const KeyedEntry& one : entries) {
    if (const auto added = writer.add(one.key, one.entry); !added) {
      throw std::runtime_error(added.error().message);
    }
  }
  if (const auto done = writer.finish(key); !done) throw std::runtime_error(done.error().message);
}

inline std::string file_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// An open file with these bytes, that lies nowhere.
inline Fd memory_file(std::string_view text) {
  Fd fd(memfd_create("bundle", MFD_CLOEXEC));
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error("memfd failed");
  }
  return fd;
}

inline BundleTrust trust_anything() {
  return {{}, SignatureRule::none};
}

inline BundleTrust trust_only(const PublicKey& key) {
  BundleTrust trust;
  trust.keys.add({key, "test"});
  return trust;
}

// Opens it and reads every entry. The first refusal, or empty.
inline std::string refusal_of(Fd fd, const BundleTrust& trust) {
  const auto bundle = Bundle::open(std::move(fd), "test", trust);
  if (!bundle) return bundle.error().message;
  for (std::size_t i = 0; i < bundle->rows().size(); ++i) {
    const auto entry = bundle->read(i);
    if (!entry) return entry.error().message;
  }
  return "";
}

inline std::string refusal_of(std::string_view text, const BundleTrust& trust) {
  return refusal_of(memory_file(text), trust);
}

inline BundleHeader header_of(std::string_view text) {
  BundleHeader header;
  std::memcpy(&header, text.data(), sizeof header);
  return header;
}

inline void set_header(std::string& text, const BundleHeader& header) {
  std::memcpy(text.data(), &header, sizeof header);
}

inline std::size_t index_at(std::string_view text) {
  return text.size() - header_of(text).entries * sizeof(BundleRow);
}

inline BundleRow row_of(std::string_view text, std::size_t index) {
  BundleRow row;
  std::memcpy(&row, text.data() + index_at(text) + index * sizeof row, sizeof row);
  return row;
}

inline void set_row(std::string& text, std::size_t index, const BundleRow& row) {
  std::memcpy(text.data() + index_at(text) + index * sizeof row, &row, sizeof row);
}

// Makes sizes and the digest of the index fit what is there, as a forger would who signs himself.
inline void make_header_fit(std::string& text) {
  BundleHeader header = header_of(text);
  header.file_bytes = text.size();
  header.index_digest = Digest::of(std::string_view(text).substr(index_at(text)));
  set_header(text, header);
}

}  // namespace kiln::test
