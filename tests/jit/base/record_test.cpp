// SPDX-License-Identifier: Apache-2.0
#include "jit/base/record.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

Record record_of(std::initializer_list<Record::Field> fields) {
  Record record;
  for (const auto& field : fields) record.add(field.name, field.value);
  return record;
}

TEST(Record, TextForm) {
  EXPECT_EQ(record_of({{"op", "kda"}, {"empty", ""}}).text(), "op:3:kda\nempty:0:\n");
}

TEST(Record, TextComesBack) {
  Record record = record_of({{"a", "1"}, {"a", "2"}, {"text", "x:3:y\nz"}, {"e", ""}});
  record.add("n", std::int64_t{-7});
  record.add("bytes", std::string_view("\0\n:", 3));
  const auto parsed = Record::parse(record.text());
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(*parsed, record);
  EXPECT_TRUE(Record::parse("")->fields().empty());
}

TEST(Record, EveryTruncationIsRefused) {
  const Record record = record_of({{"op", "kda_decode"}, {"shape", "a:1:b\n"}, {"last", "12"}});
  const std::string text = record.text();
  const std::size_t whole[] = {0, std::string("op:10:kda_decode\n").size(),
                               std::string("op:10:kda_decode\nshape:6:a:1:b\n\n").size()};
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto parsed = Record::parse(std::string_view(text).substr(0, size));
    const bool at_a_field = std::find(std::begin(whole), std::end(whole), size) != std::end(whole);
    EXPECT_EQ(parsed.has_value(), at_a_field) << size;
    if (!parsed) {
      EXPECT_EQ(parsed.error().code, ErrorCode::cache_failed);
    }
  }
}

TEST(Record, DamageIsRefusedWithItsPlace) {
  for (const char* text :
       {"x", ":1:a\n", "a:x:b\n", "a:-1:b\n", "a:1b\n", "a:1:bb\n", "a:2:b\n",
        "a:99999999999999999999:b\n", "a:18446744073709551615:b\n", "a\nb:1:c\n", "a:1:b\nz"}) {
    const auto parsed = Record::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("at byte "), std::string::npos);
  }
}

// The length of each value keeps what lies on either side of a boundary apart.
TEST(Record, NoTwoRecordsShareATextWhenBytesMoveAcrossABoundary) {
  const Record records[] = {
      record_of({{"a", "bc"}, {"d", "e"}}), record_of({{"a", "b"}, {"d", "ce"}}),
      record_of({{"a", "b\nd:1:e"}}),       record_of({{"a", "b"}, {"d", "e"}}),
      record_of({{"ab", "c"}, {"d", "e"}}), record_of({{"a", "bc"}, {"d", "e"}, {"f", ""}}),
      record_of({{"d", "e"}, {"a", "bc"}}), record_of({{"a", ""}, {"d", "bce"}}),
  };
  for (const Record& one : records) {
    for (const Record& other : records) {
      EXPECT_EQ(one.text() == other.text(), &one == &other) << one.text() << other.text();
      EXPECT_EQ(one.digest() == other.digest(), &one == &other);
    }
  }
}

TEST(Record, PrefixedFields) {
  Record record;
  record.add_all("request", record_of({{"op", "x"}, {"op", "y"}}));
  EXPECT_EQ(record, record_of({{"request.op", "x"}, {"request.op", "y"}}));
  EXPECT_EQ(record.find("request.op"), "x");
  EXPECT_EQ(record.find("op"), std::nullopt);
}

TEST(Record, DifferencesNameTheField) {
  const Record before =
      record_of({{"arch", "sm_80"}, {"option", "-DA"}, {"option", "-DB"}, {"gone", "1"}});
  const Record after =
      record_of({{"arch", "sm_90"}, {"option", "-DA"}, {"option", "-DC"}, {"new", "2"}});
  const auto found = differences(before, after);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].name, "arch");
  EXPECT_EQ(found[0].before, "sm_80");
  EXPECT_EQ(found[0].after, "sm_90");
  EXPECT_EQ(found[1].name, "option");
  EXPECT_EQ(found[1].before, "-DB");
  EXPECT_EQ(found[1].after, "-DC");
  EXPECT_EQ(found[2].name, "new");
  EXPECT_EQ(found[2].before, std::nullopt);
  EXPECT_EQ(found[3].name, "gone");
  EXPECT_EQ(found[3].after, std::nullopt);
  EXPECT_TRUE(differences(after, after).empty());
}

TEST(Record, DifferencesOfRepeatedFields) {
  const auto found = differences(record_of({{"o", "1"}, {"o", "2"}}), record_of({{"o", "1"}}));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].before, "2");
  EXPECT_EQ(found[0].after, std::nullopt);
}

}  // namespace
}  // namespace kiln
