// SPDX-License-Identifier: Apache-2.0
#include "jit/base/artifact.h"

#include <gtest/gtest.h>

#include "jit/base/record.h"

namespace kiln {
namespace {

Artifact sample() {
  Artifact artifact;
  artifact.format = CodeFormat::cubin;
  artifact.code =
      to_bytes(as_bytes(std::string_view("\x7f"
                                         "ELF\0\n:3:",
                                         9)));
  artifact.entries = {{"kiln::f<3>", "_Z1f", {32, 0, 16, 4, 8, std::nullopt}},
                      {"kiln::g", "_Z1g", {}}};
  artifact.compiler = "nvrtc";
  artifact.compile_time_ms = 12.5;
  artifact.log = "ptxas info";
  return artifact;
}

TEST(Artifact, ComesBackFromItsBytes) {
  const Artifact artifact = sample();
  const auto decoded = Artifact::decode(artifact.encode());
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->format, artifact.format);
  EXPECT_EQ(decoded->code, artifact.code);
  EXPECT_EQ(decoded->entries, artifact.entries);
}

TEST(Artifact, HowItCameAboutIsNotStored) {
  Artifact slow = sample();
  slow.compile_time_ms = 99;
  slow.log = "other";
  EXPECT_EQ(slow.encode(), sample().encode());
}

TEST(Artifact, EveryFormatHasAName) {
  for (const CodeFormat format :
       {CodeFormat::cubin, CodeFormat::ptx, CodeFormat::hsaco, CodeFormat::shared_object}) {
    Artifact artifact = sample();
    artifact.format = format;
    const auto decoded = Artifact::decode(artifact.encode());
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->format, format);
  }
}

TEST(Artifact, EveryTruncationIsRefused) {
  const Bytes bytes = sample().encode();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = Artifact::decode(ByteView(bytes).first(size));
    ASSERT_FALSE(decoded) << size;
    EXPECT_EQ(decoded.error().code, ErrorCode::cache_failed);
  }
}

TEST(Artifact, ForeignRecordsAreRefused) {
  const auto refused = [](std::initializer_list<Record::Field> fields) {
    Record record;
    for (const auto& field : fields) record.add(field.name, field.value);
    const std::string text = record.text();
    return !Artifact::decode(as_bytes(text));
  };
  EXPECT_FALSE(refused({{"entry_format", "1"}, {"format", "cubin"}, {"code", ""}}));
  EXPECT_TRUE(refused({{"entry_format", "2"}, {"format", "cubin"}, {"code", ""}}));
  EXPECT_TRUE(refused({{"entry_format", "1"}, {"format", "elf"}, {"code", ""}}));
  EXPECT_TRUE(refused({{"entry_format", "1"}, {"code", ""}, {"format", "cubin"}}));
  EXPECT_TRUE(refused({{"entry_format", "1"}, {"format", "cubin"}, {"symbol", "f"}, {"code", ""}}));
  EXPECT_TRUE(refused({{"entry_format", "1"},
                       {"format", "cubin"},
                       {"name_expression", "f"},
                       {"registers", "many"},
                       {"code", ""}}));
  EXPECT_TRUE(refused({{"entry_format", "1"},
                       {"format", "cubin"},
                       {"name_expression", "f"},
                       {"colour", "1"},
                       {"code", ""}}));
}

}  // namespace
}  // namespace kiln
