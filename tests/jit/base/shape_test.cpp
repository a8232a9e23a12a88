// SPDX-License-Identifier: Apache-2.0
#include "jit/base/shape.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

Shape sample() {
  Shape shape;
  shape.set("H", std::int64_t{8});
  shape.set("dense", false);
  shape.set("type", std::string("bf16"));
  return shape;
}

TEST(Shape, ValuesByType) {
  const Shape shape = sample();
  EXPECT_EQ(shape.integer("H"), 8);
  EXPECT_FALSE(shape.flag("dense"));
  EXPECT_EQ(shape.word("type"), "bf16");
  EXPECT_EQ(shape.find("K"), nullptr);
}

TEST(Shape, SettingAgainKeepsThePlace) {
  Shape shape = sample();
  shape.set("H", std::int64_t{16});
  EXPECT_EQ(shape.text(), "H=16 dense=false type=bf16");
  EXPECT_EQ(shape.params().size(), 3u);
}

TEST(Shape, RecordKeepsTypesApart) {
  EXPECT_EQ(sample().record().text(), "H:5:int 8\ndense:10:bool false\ntype:9:word bf16\n");
  Shape words = sample();
  words.set("H", std::string("8"));
  EXPECT_NE(words.record(), sample().record());
  EXPECT_NE(words, sample());
}

TEST(ShapeDeathTest, AWrongNameOrTypeIsABug) {
  EXPECT_DEATH((void)sample().integer("K"), "kiln bug: shape 'H=8 .* has no integer 'K'");
  EXPECT_DEATH((void)sample().flag("H"), "has no switch 'H'");
}

}  // namespace
}  // namespace kiln
