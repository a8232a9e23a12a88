// SPDX-License-Identifier: Apache-2.0
#include "jit/base/key.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

KeyRecord sample() {
  KeyRecord record;
  record.request.add("op", "kda_decode");
  record.request.add("request.op", "nested");
  record.toolchain.add("compiler", "nvrtc");
  return record;
}

TEST(KeyRecord, SplitsIntoWhatWasJoined) {
  const KeyRecord record = sample();
  const auto split = KeyRecord::split(record.joined().text());
  ASSERT_TRUE(split) << split.error().message;
  EXPECT_EQ(split->request, record.request);
  EXPECT_EQ(split->toolchain, record.toolchain);
  EXPECT_EQ(split->key(), record.key());
  EXPECT_EQ(KeyRecord::split("")->key(), KeyRecord{}.key());
}

TEST(KeyRecord, TextsThatOnlyLookAlikeAreRefused) {
  for (const char* text :
       {"op:1:x\n", "request.:1:x\n", "toolchain.:0:\n", "requestop:1:x\n", "request.op:01:x\n",
        "toolchain.a:1:x\nrequest.op:1:y\n", "request.a:1:x\nbad"}) {
    const auto split = KeyRecord::split(text);
    ASSERT_FALSE(split) << text;
    EXPECT_NE(split.error().message.find("record: "), std::string::npos);
  }
}

}  // namespace
}  // namespace kiln
