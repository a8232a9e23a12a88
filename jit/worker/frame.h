// SPDX-License-Identifier: Apache-2.0
// Frames: how two processes of one machine pass messages over a stream socket.
//
//   frame   := magic(u32) kind(u32) sequence(u64) size(u64) checksum(u64) payload(size bytes)
//
// Integers in the machine's own order. The checksum is XXH3-64 over all that is before and after
// it. Nothing in a frame is believed: a reader allocates for bytes that came, not for the size that
// was announced, and the first thing wrong ends the conversation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "jit/base/result.h"

namespace kiln {

enum class FrameKind : std::uint32_t { request = 1, reply = 2 };

struct Frame {
  FrameKind kind = FrameKind::request;
  std::uint64_t sequence = 0;  // of a reply: that of its request
  std::string payload;
};

// What no honest peer sends more of: a source with its headers, or a code object with its log.
inline constexpr std::uint64_t kFramePayloadBytesMax = std::uint64_t{256} << 20;

std::string encode_frame(const Frame& frame);

// Puts frames together from bytes as they arrive. Not thread-safe.
class FrameReader {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }

  // The first whole frame, or nothing while bytes are missing. Errors: internal, saying what is
  // wrong with the bytes; the stream is then of no more use.
  Result<std::optional<Frame>> next();

  // Whether the stream may end here: no part of a frame is left.
  bool between_frames() const { return buffer_.empty(); }

 private:
  std::string buffer_;
};

}  // namespace kiln
