// SPDX-License-Identifier: Apache-2.0
#include "jit/worker/frame.h"

#include <gtest/gtest.h>

namespace kiln::test {
namespace {

Frame sample() {
  return {FrameKind::reply, 7, std::string("some bytes\0and more", 19)};
}

Result<std::optional<Frame>> read(std::string_view bytes) {
  FrameReader reader;
  reader.append(bytes);
  return reader.next();
}

TEST(Frame, ComesBackWholeHoweverItArrives) {
  const std::string bytes = encode_frame(sample()) + encode_frame({FrameKind::request, 8, ""});
  FrameReader reader;
  std::vector<Frame> frames;
  for (const char byte : bytes) {
    reader.append({&byte, 1});
    auto frame = reader.next();
    ASSERT_TRUE(frame) << frame.error().message;
    if (*frame) frames.push_back(std::move(**frame));
  }
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].kind, FrameKind::reply);
  EXPECT_EQ(frames[0].sequence, 7U);
  EXPECT_EQ(frames[0].payload, sample().payload);
  EXPECT_EQ(frames[1].sequence, 8U);
  EXPECT_TRUE(reader.between_frames());
}

// Every bit of a frame is covered by something.
TEST(Frame, AnyFlippedBitIsSeen) {
  const std::string good = encode_frame(sample());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const auto frame = read(bytes);
    // A larger size may only mean that more is to come.
    const bool is_size = bit / 8 >= 16 && bit / 8 < 24;
    EXPECT_TRUE(!frame || (is_size && !*frame)) << "bit " << bit;
  }
}

TEST(Frame, APartIsNoFrameYet) {
  const std::string good = encode_frame(sample());
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto frame = read(std::string_view(good).substr(0, size));
    ASSERT_TRUE(frame) << size;
    EXPECT_FALSE(*frame) << size;
  }
}

TEST(Frame, RubbishIsSeenAtItsFirstByte) {
  EXPECT_FALSE(read("x"));
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\n"));
}

// A size that nobody would send is refused at once and not waited for, nor allocated.
TEST(Frame, AHugeSizeIsRefused) {
  std::string bytes = encode_frame(sample());
  bytes[16 + 7] = '\x7f';
  const auto frame = read(bytes);
  ASSERT_FALSE(frame);
  EXPECT_NE(frame.error().message.find("more than"), std::string::npos) << frame.error().message;
}

}  // namespace
}  // namespace kiln::test
