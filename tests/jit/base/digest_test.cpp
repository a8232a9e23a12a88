// SPDX-License-Identifier: Apache-2.0
#include "jit/base/digest.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

// As `printf abc | b2sum -l 256` prints it.
constexpr const char* kDigestOfAbc =
    "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319";

TEST(Digest, IsBlake2b256) {
  EXPECT_EQ(Digest::of("abc").hex(), kDigestOfAbc);
  EXPECT_EQ(Digest::of("abc").short_hex(), "bddd813c6342");
}

TEST(Digest, ComesBackFromHex) {
  EXPECT_EQ(Digest::from_hex(kDigestOfAbc), Digest::of("abc"));
  const std::string hex = kDigestOfAbc;
  EXPECT_FALSE(Digest::from_hex(""));
  EXPECT_FALSE(Digest::from_hex(hex.substr(1)));
  EXPECT_FALSE(Digest::from_hex(hex + "00"));
  EXPECT_FALSE(Digest::from_hex("z" + hex.substr(1)));
  EXPECT_FALSE(Digest::from_hex(" " + hex.substr(1)));
}

TEST(Digest, OrderAndPrefix) {
  const Digest a = Digest::of("a");
  const Digest b = Digest::of("b");
  EXPECT_NE(a, b);
  EXPECT_NE(a.prefix(), b.prefix());
  EXPECT_TRUE((a < b) != (b < a));
}

}  // namespace
}  // namespace kiln
