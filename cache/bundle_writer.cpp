// SPDX-License-Identifier: Apache-2.0
#include "cache/bundle_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace kiln {
namespace {

// Fixed, since the bytes depend on it. Within 1 % of level 19 on kernels, in half of its time.
constexpr int kZstdLevel = 15;

tl::unexpected<Error> failed(const std::filesystem::path& file) {
  return fail(ErrorCode::cache_failed,
              fmt::format("cannot write the bundle '{}': {}", file.string(), std::strerror(errno)));
}

// Times and logs differ from compile to compile.
std::string portable_info(std::string_view info) {
  const auto record = Record::parse(info);
  Record kept;
  if (record) {
    for (const Record::Field& field : record->fields()) {
      if (field.name == "compiler") kept.add(field.name, field.value);
    }
  }
  return kept.text();
}

Bytes raw_bytes_of(const StoreEntry& entry) {
  Record fields;
  fields.add("label", entry.label);
  fields.add("record", entry.record);
  fields.add("info", portable_info(entry.info));
  fields.add("payload", as_text(entry.payload));
  return to_bytes(as_bytes(fields.text()));
}

Result<Bytes> compress(Bytes raw) {
  Bytes packed(ZSTD_compressBound(raw.size()));
  const std::size_t size =
      ZSTD_compress(packed.data(), packed.size(), raw.data(), raw.size(), kZstdLevel);
  if (ZSTD_isError(size)) {
    return fail(ErrorCode::internal, fmt::format("zstd: {}", ZSTD_getErrorName(size)));
  }
  if (size >= raw.size() || raw.size() / kBundleRatioMax > size) return raw;
  packed.resize(size);
  return packed;
}

}  // namespace

Result<BundleWriter> BundleWriter::create(const std::filesystem::path& file) {
  std::string temporary = fmt::format("{}.{:08x}.part", file.string(), std::random_device{}());
  Fd fd(open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) return failed(file);
  return BundleWriter(file, std::move(temporary), std::move(fd));
}

BundleWriter::BundleWriter(std::filesystem::path file, std::string temporary, Fd fd)
    : file_(std::move(file)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

BundleWriter::~BundleWriter() {
  if (fd_) unlink(temporary_.c_str());
}

Result<void> BundleWriter::write(ByteView bytes, std::uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failed(file_);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

Result<void> BundleWriter::add(const Key& key, const StoreEntry& entry) {
  if (!rows_.empty() && !(rows_.back().key < key)) {
    return fail(ErrorCode::internal, "bundle: entries out of order");
  }
  Bytes raw = raw_bytes_of(entry);
  const std::uint64_t raw_bytes = raw.size();
  if (raw_bytes > kBundleEntryBytesMax || rows_.size() == kBundleEntriesMax) {
    return fail(ErrorCode::cache_failed,
                fmt::format("bundle '{}': '{}' of {} bytes does not go in; {} entries of {} bytes "
                            "are the most",
                            file_.string(), entry.label, raw_bytes, kBundleEntriesMax,
                            kBundleEntryBytesMax));
  }
  KILN_TRY_ASSIGN(const Bytes stored, compress(std::move(raw)));
  KILN_TRY(write(stored, offset_));
  rows_.push_back({key, Digest::of(stored), stored.size(), raw_bytes});
  offset_ += stored.size();
  return {};
}

Result<void> BundleWriter::finish(const SigningKey* key) {
  const ByteView index = std::as_bytes(std::span(rows_));
  KILN_TRY(write(index, offset_));
  offset_ += index.size();
  BundleHeader header;
  header.magic = kBundleMagic;
  header.version = kBundleVersion;
  header.entries = rows_.size();
  header.file_bytes = offset_;
  header.index_digest = Digest::of(index);
  if (key) {
    header.signer = key->public_key();
    header.signature = key->sign(signed_message(header));
  }
  KILN_TRY(write(std::as_bytes(std::span(&header, 1)), 0));
  if (fsync(fd_.get()) != 0 || rename(temporary_.c_str(), file_.c_str()) != 0) {
    return failed(file_);
  }
  fd_.reset();
  return {};
}

}  // namespace kiln
