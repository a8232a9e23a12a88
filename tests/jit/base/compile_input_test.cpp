// SPDX-License-Identifier: Apache-2.0
#include "jit/base/compile_input.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "jit/base/include_scan.h"

namespace kiln {
namespace {

CompileInput sample() {
  Shape shape;
  shape.set("H", std::int64_t{8});
  shape.set("dense", true);
  shape.set("type", std::string("bf16"));
  return {"kda_decode",           "kda_decode/warp_rows",  shape,
          *Arch::parse("sm_90a"), {"main.cu", "int f();"}, {{"a.h", "int a;"}, {"b.h", "int b;"}},
          {"kiln::f", "kiln::g"}, {"-DA=1", "-std=c++17"}};
}

using Change = std::function<void(CompileInput&)>;

const Change kChanges[] = {
    [](CompileInput&) {},
    [](CompileInput& in) { in.op = "kda_prefill"; },
    [](CompileInput& in) { in.implementation = "kda_decode/small_batch"; },
    [](CompileInput& in) { in.shape.set("H", std::int64_t{9}); },
    [](CompileInput& in) { in.shape.set("H", std::string("8")); },
    [](CompileInput& in) { in.shape.set("dense", std::int64_t{1}); },
    [](CompileInput& in) { in.shape.set("dense", std::string("true")); },
    [](CompileInput& in) { in.shape.set("K", std::int64_t{8}); },
    [](CompileInput& in) { in.arch = *Arch::parse("sm_90"); },
    [](CompileInput& in) { in.source.name = "other.cu"; },
    [](CompileInput& in) { in.source.text += " "; },
    [](CompileInput& in) { in.headers[0].name = "c.h"; },
    [](CompileInput& in) { in.headers[0].text = "int b;"; },
    [](CompileInput& in) { std::swap(in.headers[0], in.headers[1]); },
    [](CompileInput& in) { std::swap(in.headers[0].text, in.headers[1].text); },
    [](CompileInput& in) { in.headers.pop_back(); },
    // A header that shadows one, from before and from behind.
    [](CompileInput& in) {
      in.headers.insert(in.headers.begin(), {"a.h", "int c;"});
    },
    [](CompileInput& in) {
      in.headers.push_back({"a.h", "int c;"});
    },
    [](CompileInput& in) { in.headers.push_back(in.source), in.source = {}; },
    [](CompileInput& in) { in.name_expressions[1] = "kiln::h"; },
    [](CompileInput& in) { std::swap(in.name_expressions[0], in.name_expressions[1]); },
    [](CompileInput& in) { in.name_expressions = {"kiln::fkiln::g"}; },
    [](CompileInput& in) { in.options[0] = "-DA=2"; },
    [](CompileInput& in) {
      in.options = {"-DA=1", "-DA=2"};
    },
    [](CompileInput& in) {
      in.options = {"-DA=2", "-DA=1"};
    },
    [](CompileInput& in) {
      in.options = {"-DA=1", "-UA"};
    },
    [](CompileInput& in) {
      in.options = {"-UA", "-DA=1"};
    },
    [](CompileInput& in) { in.options = {"-DA=1-std=c++17"}; },
    [](CompileInput& in) { in.options.pop_back(); },
    [](CompileInput& in) { in.options.push_back("kiln::g"), in.name_expressions.pop_back(); },
};

TEST(CompileInput, EveryChangeOfEveryFieldChangesTheDigest) {
  std::set<Digest> digests;
  for (const Change& change : kChanges) {
    CompileInput input = sample();
    change(input);
    EXPECT_TRUE(digests.insert(input.request().digest()).second)
        << "change " << &change - kChanges << " gives a digest that another one gave";
  }
}

TEST(CompileInput, EqualInputsHaveEqualDigests) {
  EXPECT_EQ(sample().request().digest(), sample().request().digest());
  EXPECT_EQ(sample().request(), sample().request());
}

TEST(CompileInput, OptionsAboutDifferentThingsMayStandInAnyOrder) {
  CompileInput a = sample();
  a.options = {"-DA=1", "-DB(x)=x", "-UC", "-std=c++17", "-DAB=1"};
  CompileInput b = a;
  std::reverse(b.options.begin(), b.options.end());
  EXPECT_EQ(a.request(), b.request());
}

TEST(CompileInput, TheRecordShowsVersionsOfFormatAndAbi) {
  EXPECT_EQ(sample().request().find("entry_format"), std::to_string(kEntryFormatVersion));
  EXPECT_EQ(sample().request().find("launch_abi"), std::to_string(kLaunchAbiVersion));
}

TEST(CompileInput, Label) {
  EXPECT_EQ(sample().label(), "kda_decode/warp_rows H=8 dense=true type=bf16 sm_90a");
  CompileInput input = sample();
  input.shape = {};
  EXPECT_EQ(input.label(), "kda_decode/warp_rows sm_90a");
}

void expect_refused(const Change& change, const char* words) {
  CompileInput input = sample();
  change(input);
  const auto checked = input.check();
  ASSERT_FALSE(checked) << words;
  EXPECT_EQ(checked.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(checked.error().message.find(words), std::string::npos) << checked.error().message;
  EXPECT_EQ(checked.error().message.find('\n'), std::string::npos);
}

TEST(CompileInput, AcceptsWhatIsSelfContained) {
  CompileInput input = sample();
  input.source.text = R"outer(#include "a.h"
#  include <b.h>
// #include "/etc/passwd" in a comment names no file
#if defined(__has_include) && __has_include("a.h")
#include_next "a.h"
#endif
struct S { int include; } s; int n = s.include;
/* #include "/etc/passwd"
#include "/etc/passwd" */
const char* a = "/*"; int million = 1'000'000;
const char* b = "\
#include </etc/passwd>";
const char* c = R"x(
#include </etc/passwd> )" still raw
)x"; char quote = '"'; int include_count = 5 %:include_count;
// a comment that goes on \
#include </etc/passwd>
)outer";
  ASSERT_EQ(files_named_in(input.source.text).size(), 4u);
  const auto checked = input.check();
  EXPECT_TRUE(checked) << checked.error().message;
}

TEST(CompileInput, RefusesTheTimeOfDay) {
  for (const std::string macro : {"__DATE__", "__TIME__", "__TIMESTAMP__"}) {
    expect_refused([&](auto& in) { in.source.text += macro; }, macro.c_str());
    expect_refused([&](auto& in) { in.headers[1].text += macro; }, "'b.h' uses");
    expect_refused([&](auto& in) { in.options.push_back("-DNOW=" + macro); }, macro.c_str());
  }
}

TEST(CompileInput, RefusesOptionsThatReachOutside) {
  for (const std::string option :
       {"-I/usr/include", "--pre-include=x.h", "-include", "x.cu", "-D", "-U", "-std=", "",
        "--time=report", "-fpass-plugin=x.so", "@file", "-O0"}) {
    expect_refused([&](auto& in) { in.options.push_back(option); },
                   ("option '" + option + "'").c_str());
  }
}

TEST(CompileInput, RefusesFilesOutsideTheKey) {
  for (const std::string line :
       {"#include \"/etc/passwd\"", "  #  include </etc/passwd>", "#include FILE_NAME",
        "#if __has_include(\"/etc/passwd\")",
        "#if defined(__has_include) && __has_include ( </etc/passwd>)",
        "#elif __has_include(FILE_NAME)", "#embed \"/etc/passwd\"", "%:include </etc/passwd>",
        "\?\?=include </etc/passwd>", "#inc\\\nlude </etc/passwd>",
        "/* a */ # /* b\n*/ include </etc/p>", "#define ASK __has_include",
        "#import </etc/passwd>"}) {
    expect_refused([&](auto& in) { in.source.text = "int a;\n" + line + "\nint b;"; },
                   "'main.cu' line 2");
  }
  expect_refused([](auto& in) { in.headers[0].text = R"(asm(".incbin \"x\"");)"; }, ".incbin");
  expect_refused([](auto& in) { in.source.text = R"(asm(".include \"x\"");)"; }, ".include");
}

TEST(CompileInput, RefusesNothingToCompile) {
  expect_refused([](auto& in) { in.name_expressions.clear(); }, "no name expression");
}

}  // namespace
}  // namespace kiln
