// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_sources.h"

#include <gtest/gtest.h>

#include "tests/jit/gpu_sample.h"

namespace kiln::test {
namespace {

CompileInput with(const std::string& text, std::vector<SourceText> headers) {
  CompileInput input = gpu_sample("gfx90a");
  input.source.text = text;
  input.headers = std::move(headers);
  return input;
}

TEST(HiprtcSources, EachTextBeginsWithItsName) {
  CompileInput input = with("int a;", {{"kiln/b.h", "int b;"}});
  input.source.name = "odd \"name\"\\.cu";
  const auto sources = hiprtc_sources(input);
  ASSERT_TRUE(sources) << words_of(sources);
  EXPECT_EQ(sources->source.text, "#line 1 \"odd \\\"name\\\"\\\\.cu\"\nint a;");
  EXPECT_EQ(sources->headers[0].text, "#line 1 \"kiln/b.h\"\nint b;");
  EXPECT_EQ(sources->headers[0].name, "kiln/b.h");
}

TEST(HiprtcSources, GivenHeadersMayBeIncluded) {
  const std::vector<SourceText> headers = {
      {"kiln/a.h", "#include \"b.h\"\n#include \"kiln/b.h\"\n  #  include <kiln/b.h>  // why\n"},
      {"kiln/b.h", "#include \"../c.h\"\n#if __has_include(\"../c.h\")\n#endif\n"},
      {"c.h", "// #include <cmath>\n"}};
  const auto sources = hiprtc_sources(
      with("#include \"kiln/a.h\"\n#if defined(__has_include) && __has_include(<c.h>)\n#endif\n",
           headers));
  EXPECT_TRUE(sources) << words_of(sources);
}

TEST(HiprtcSources, OtherIncludesAreRefusedWithTheirLine) {
  for (const char* directive : {"#include <cmath>", "#include \"b.h\"", "#include_next <d.h>",
                                "#include <", "#include \"\"", "#if __has_include(<cmath>)",
                                "#elif 1 && __has_include ( \"x.h\" )", "#include \"../c.h\""}) {
    const auto sources = hiprtc_sources(
        with("int a;\n" + std::string(directive) + "\n", {{"kiln/b.h", ""}, {"c.h", ""}}));
    ASSERT_FALSE(sources) << directive;
    EXPECT_EQ(sources.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(sources.error().message.find("'reverse/simple.cu' line 2"), std::string::npos)
        << sources.error().message;
  }
}

TEST(HiprtcSources, HeaderNamesThatAreNoPlainPathsAreRefused) {
  for (const char* name :
       {"", "/etc/x.h", "../x.h", "a/../../x.h", "./x.h", "a/", "a\nb.h", "hiprtc_runtime.h"}) {
    const auto sources = hiprtc_sources(with("int a;", {{name, "int b;"}}));
    ASSERT_FALSE(sources) << name;
    EXPECT_EQ(sources.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(sources.error().message.find(name), std::string::npos);
  }
  CompileInput input = with("int a;", {});
  input.source.name = "a\n#error";
  EXPECT_FALSE(hiprtc_sources(input));
}

}  // namespace
}  // namespace kiln::test
