// SPDX-License-Identifier: Apache-2.0
#include "cache/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kiln {
namespace {

constexpr const char* kFieldNames[] = {"label", "record", "info", "payload"};

bool is_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{}; });
}

// Labels are printed: one that holds control characters could rewrite a terminal.
bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
}

Result<void> check_row(const BundleRow& row, const BundleRow* before) {
  const auto bad = [](std::string why) { return fail(ErrorCode::cache_failed, std::move(why)); };
  if (before && !(before->key < row.key)) return bad("the index is not in ascending order");
  if (row.stored_bytes == 0 || row.stored_bytes > row.raw_bytes) {
    return bad(
        fmt::format("an entry of {} bytes is stored in {}", row.raw_bytes, row.stored_bytes));
  }
  if (row.raw_bytes > kBundleEntryBytesMax) {
    return bad(fmt::format("an entry claims {} bytes and {} is the most", row.raw_bytes,
                           kBundleEntryBytesMax));
  }
  if (row.raw_bytes / kBundleRatioMax > row.stored_bytes) {
    return bad(fmt::format("{} bytes claim to unpack to {}, and {} times as much is the most",
                           row.stored_bytes, row.raw_bytes, kBundleRatioMax));
  }
  return {};
}

}  // namespace

Bytes signed_message(const BundleHeader& header) {
  Bytes message(kBundleDomain.size() + kBundleSignedBytes);
  std::memcpy(message.data(), kBundleDomain.data(), kBundleDomain.size());
  std::memcpy(message.data() + kBundleDomain.size(), &header, kBundleSignedBytes);
  return message;
}

Result<Bundle> Bundle::open(const std::filesystem::path& file, const BundleTrust& trust) {
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd) return open(std::move(fd), file.string(), trust);
  return fail(ErrorCode::cache_failed,
              fmt::format("cannot read the bundle '{}': {}", file.string(), std::strerror(errno)));
}

Result<Bundle> Bundle::open(Fd fd, std::string name, const BundleTrust& trust) {
  Bundle bundle(std::move(fd), std::move(name));
  struct stat status;
  if (fstat(bundle.fd_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return bundle.refuse("it is not a regular file");
  }
  KILN_TRY(bundle.read_header(static_cast<std::uint64_t>(status.st_size)));
  KILN_TRY(bundle.check_signature(trust));
  KILN_TRY(bundle.read_index());
  return bundle;
}

tl::unexpected<Error> Bundle::refuse(std::string_view why) const {
  return fail(ErrorCode::cache_failed, fmt::format("bundle '{}' is refused: {}", name_, why));
}

// `size` has been compared with the size of the file.
Result<Bytes> Bundle::read_at(std::uint64_t offset, std::uint64_t size) const {
  Bytes bytes(size);
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t got =
        pread(fd_.get(), bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(fmt::format("reading it failed: {}", std::strerror(errno)));
    if (got == 0) return refuse("it became shorter while it was read");
    done += static_cast<std::uint64_t>(got);
  }
  return bytes;
}

Result<void> Bundle::read_header(std::uint64_t file_bytes) {
  if (file_bytes < sizeof header_) {
    return refuse(
        fmt::format("it has {} bytes and a bundle has at least {}", file_bytes, sizeof header_));
  }
  KILN_TRY_ASSIGN(const Bytes bytes, read_at(0, sizeof header_));
  std::memcpy(&header_, bytes.data(), sizeof header_);
  if (header_.magic != kBundleMagic) return refuse("it is no bundle of Kiln's");
  if (header_.version != kBundleVersion || header_.reserved != 0) {
    return refuse(fmt::format("it has version {}.{} and this Kiln reads version {}.0",
                              header_.version, header_.reserved, kBundleVersion));
  }
  if (header_.file_bytes != file_bytes) {
    return refuse(fmt::format("it has {} bytes and its header says {}: it is cut off or damaged",
                              file_bytes, header_.file_bytes));
  }
  if (header_.entries > kBundleEntriesMax ||
      header_.entries > (file_bytes - sizeof header_) / sizeof(BundleRow)) {
    return refuse(
        fmt::format("{} entries do not fit into its {} bytes", header_.entries, file_bytes));
  }
  return {};
}

Result<void> Bundle::check_signature(const BundleTrust& trust) {
  const bool is_unsigned = is_zero(header_.signature) && is_zero(header_.signer.bytes);
  if (!is_unsigned && is_signed_by(header_.signer, signed_message(header_), header_.signature)) {
    signer_ = header_.signer;
  }
  if (trust.rule == SignatureRule::none) return {};
  if (is_unsigned) return refuse("it is not signed (--allow-unsigned takes it all the same)");
  if (!signer_) return refuse("its signature does not fit: it was altered after it was signed");
  if (trust.rule == SignatureRule::anybody || trust.keys.find(*signer_)) return {};
  const std::string& where = trust.keys.where();
  return refuse(
      fmt::format("it is signed by {}, whom {} does not name ('jitctl key trust' adds a "
                  "key, --allow-stranger takes it all the same)",
                  header_.signer.text(), where.empty() ? "no list of keys" : where));
}

Result<void> Bundle::read_index() {
  const std::uint64_t index_bytes = header_.entries * sizeof(BundleRow);
  const std::uint64_t index_at = header_.file_bytes - index_bytes;
  KILN_TRY_ASSIGN(const Bytes index, read_at(index_at, index_bytes));
  if (Digest::of(index) != header_.index_digest) {
    return refuse("its index does not have the digest that its header says");
  }
  rows_.resize(header_.entries);
  if (index_bytes > 0) std::memcpy(rows_.data(), index.data(), index_bytes);
  std::uint64_t offset = sizeof header_;
  offsets_.reserve(rows_.size());
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const BundleRow& row = rows_[i];
    if (const auto good = check_row(row, i == 0 ? nullptr : &rows_[i - 1]); !good) {
      return refuse(good.error().message);
    }
    offsets_.push_back(offset);
    if (row.stored_bytes > index_at - offset) return refuse("its entries do not fit into it");
    offset += row.stored_bytes;
  }
  if (offset != index_at) return refuse("it holds bytes that belong to no entry");
  return {};
}

std::optional<std::size_t> Bundle::find(const Key& key) const {
  const auto found =
      std::lower_bound(rows_.begin(), rows_.end(), key,
                       [](const BundleRow& row, const Key& wanted) { return row.key < wanted; });
  if (found == rows_.end() || found->key != key) return std::nullopt;
  return static_cast<std::size_t>(found - rows_.begin());
}

Result<Bytes> Bundle::read_stored(std::size_t index) const {
  const BundleRow& row = rows_[index];
  KILN_TRY_ASSIGN(Bytes stored, read_at(offsets_[index], row.stored_bytes));
  if (Digest::of(stored) == row.digest) return stored;
  return refuse(fmt::format("entry {} does not have the digest that the index says",
                            row.key.request.short_hex()));
}

Result<StoreEntry> Bundle::read(std::size_t index) const {
  KILN_TRY_ASSIGN(const Bytes stored, read_stored(index));
  auto entry = unpack(rows_[index], stored);
  if (entry) return entry;
  return refuse(
      fmt::format("entry {}: {}", rows_[index].key.request.short_hex(), entry.error().message));
}

Result<StoreEntry> Bundle::unpack(const BundleRow& row, ByteView stored) const {
  const auto bad = [](std::string_view why) {
    return fail(ErrorCode::cache_failed, std::string(why));
  };
  Bytes unpacked;
  ByteView raw = stored;
  if (row.stored_bytes != row.raw_bytes) {
    if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != row.raw_bytes) {
      return bad("its compressed bytes are not of the size that the index says");
    }
    unpacked.resize(row.raw_bytes);
    const std::size_t size =
        ZSTD_decompress(unpacked.data(), unpacked.size(), stored.data(), stored.size());
    if (ZSTD_isError(size)) return bad(ZSTD_getErrorName(size));
    if (size != row.raw_bytes) return bad("it unpacks to another size than the index says");
    raw = unpacked;
  }
  KILN_TRY_ASSIGN(const Record fields, Record::parse(as_text(raw)));
  const auto names_fit = [](const Record::Field& field, const char* name) {
    return field.name == name;
  };
  if (!std::equal(fields.fields().begin(), fields.fields().end(), std::begin(kFieldNames),
                  std::end(kFieldNames), names_fit)) {
    return bad("it is not label, record, info and payload");
  }
  const auto value = [&](std::size_t i) { return std::string_view(fields.fields()[i].value); };
  StoreEntry entry;
  entry.label = value(0);
  entry.record = value(1);
  entry.info = value(2);
  entry.payload = to_unfilled_bytes(as_bytes(value(3)));
  KILN_TRY_ASSIGN(const KeyRecord record, KeyRecord::split(entry.record));
  if (record.key() != row.key) return bad("its record is not the one that its key was made from");
  KILN_TRY(Record::parse(entry.info));
  if (!is_printable(entry.label)) return bad("its label holds control characters");
  return entry;
}

}  // namespace kiln
