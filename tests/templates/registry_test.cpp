// SPDX-License-Identifier: Apache-2.0
#include "templates/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace kiln {
namespace {

bool is_identifier(const std::string& text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

Shape kda_shape(std::vector<NameValue> given) {
  return parse_arguments(**find_op("kda_decode"), given)->shape;
}

TEST(Registry, FindsAnOpByName) {
  const Result<const Op*> op = find_op("kda_decode");
  ASSERT_TRUE(op);
  EXPECT_EQ((*op)->name, "kda_decode");
}

TEST(Registry, AnUnknownOpNamesTheNearestAndAll) {
  const Result<const Op*> op = find_op("kda_decdoe");
  ASSERT_FALSE(op);
  EXPECT_EQ(op.error().code, ErrorCode::invalid_argument);
  std::string all;
  for (const Op& known : ops()) all += (all.empty() ? "" : ", ") + known.name;
  EXPECT_EQ(op.error().message,
            "unknown op 'kda_decdoe' (did you mean 'kda_decode'?); ops: " + all);
  EXPECT_EQ(find_op("conv").error().message, "unknown op 'conv'; ops: " + all);
}

// Parameters and their words become names in the generated header.
TEST(Registry, NamesAreUniqueIdentifiersAndDefaultsAreAccepted) {
  std::set<std::string> implementations;
  for (const Op& op : ops()) {
    std::set<std::string> names;
    for (const auto* specs : {&op.shape_params, &op.call_params}) {
      for (const ParamSpec& spec : *specs) {
        EXPECT_TRUE(is_identifier(spec.name)) << spec.name;
        EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
        EXPECT_FALSE(spec.doc.empty()) << spec.name;
        for (const std::string& word : spec.choices) EXPECT_TRUE(is_identifier(word)) << word;
        const NameValue as_given{spec.name, to_text(spec.default_value)};
        EXPECT_TRUE(parse_arguments(op, {&as_given, 1})) << spec.name;
      }
    }
    EXPECT_GT(op.params_bytes, 0U);
    for (const Implementation& implementation : op.implementations) {
      EXPECT_TRUE(implementations.insert(implementation.name).second);
      EXPECT_TRUE(implementation.name.starts_with(op.name + "/"));
    }
  }
}

TEST(Registry, EachImplementationBuildsItsDefaultsForItsFamilies) {
  const Op& op = **find_op("kda_decode");
  const Shape shape = kda_shape({});
  const auto builds = [&](std::size_t implementation, const char* arch) {
    return bool(can_build(op.implementations[implementation], shape, *Arch::parse(arch)));
  };
  for (const char* arch : {"sm_80", "sm_90a", "sm_100a", "sm_120", "gfx90a", "gfx942:xnack-"}) {
    for (const std::size_t gpu : {0, 1, 2}) EXPECT_TRUE(builds(gpu, arch)) << arch;
    EXPECT_FALSE(builds(3, arch)) << arch;
  }
  for (const char* arch : {"x86-64-v2", "x86-64-v4+avx512bf16"}) {
    EXPECT_FALSE(builds(0, arch)) << arch;
    EXPECT_TRUE(builds(3, arch)) << arch;
  }
}

TEST(Registry, RefusalsSayWhy) {
  const Op& op = **find_op("kda_decode");
  const Arch sm = *Arch::parse("sm_90a");
  const Arch cpu = *Arch::parse("x86-64-v3");
  EXPECT_EQ(can_build(op.implementations[3], kda_shape({}), sm).reason(),
            "sm_90a is of family nvidia, and it is written for x86_64");
  EXPECT_EQ(can_build(op.implementations[0], kda_shape({}), *Arch::parse("sm_75")).reason(),
            "sm_75 is older than sm_80");
  EXPECT_EQ(can_build(op.implementations[3], kda_shape({{"V", "96"}}), cpu).reason(),
            "V=96: built are 64, 128 and 256");
  EXPECT_EQ(can_build(op.implementations[0], kda_shape({{"H", "12"}}), sm).reason(),
            "HV=32 is not a multiple of H=12: each query/key head serves as many value heads");
}

}  // namespace
}  // namespace kiln
