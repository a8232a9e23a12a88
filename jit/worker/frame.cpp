// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/frame.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>

namespace kiln {
namespace {

constexpr std::uint32_t kMagic = 0x31464b57;  // "WKF1"

struct Header {
  std::uint32_t magic;
  std::uint32_t kind;
  std::uint64_t sequence;
  std::uint64_t payload_bytes;
  std::uint64_t checksum;
};
static_assert(sizeof(Header) == 32);

std::uint64_t checksum_of(const Header& header, std::string_view payload) {
  const XXH64_hash_t seed = XXH3_64bits(&header, offsetof(Header, checksum));
  return XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
}

bool is_known(std::uint32_t kind) {
  return kind == static_cast<std::uint32_t>(FrameKind::request) ||
         kind == static_cast<std::uint32_t>(FrameKind::reply);
}

tl::unexpected<Error> bad(std::string what) {
  return fail(ErrorCode::internal, std::move(what));
}

}  // namespace

std::string encode_frame(const Frame& frame) {
  Header header{kMagic, static_cast<std::uint32_t>(frame.kind), frame.sequence,
                frame.payload.size(), 0};
  header.checksum = checksum_of(header, frame.payload);
  std::string bytes;
  bytes.reserve(sizeof header + frame.payload.size());
  bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(frame.payload);
  return bytes;
}

Result<std::optional<Frame>> FrameReader::next() {
  // Rubbish shows in its first bytes; waiting for a whole header of it might take for ever.
  if (std::memcmp(buffer_.data(), &kMagic, std::min(buffer_.size(), sizeof kMagic)) != 0) {
    return bad("what it sent is no frame");
  }
  if (buffer_.size() < sizeof(Header)) return std::nullopt;
  Header header;
  std::memcpy(&header, buffer_.data(), sizeof header);
  if (!is_known(header.kind)) return bad(fmt::format("it sent a frame of kind {}", header.kind));
  if (header.payload_bytes > kFramePayloadBytesMax) {
    return bad(fmt::format("it announced {} bytes, more than the {} that are allowed",
                           header.payload_bytes, kFramePayloadBytesMax));
  }
  if (buffer_.size() - sizeof header < header.payload_bytes) return std::nullopt;
  Frame frame{static_cast<FrameKind>(header.kind), header.sequence,
              buffer_.substr(sizeof header, header.payload_bytes)};
  if (checksum_of(header, frame.payload) != header.checksum) {
    return bad(fmt::format("the checksum of its {} bytes is wrong", header.payload_bytes));
  }
  buffer_.erase(0, sizeof header + header.payload_bytes);
  return frame;
}

}  // namespace kiln
