// SPDX-License-Identifier: Apache-2.0
#include "templates/sources.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "templates/embedded.h"

namespace kiln {
namespace {

std::vector<std::string> names_of(const Result<std::vector<SourceText>>& headers) {
  EXPECT_TRUE(headers) << headers.error().message;
  std::vector<std::string> names;
  if (headers) {
    for (const SourceText& header : *headers) names.push_back(header.name);
  }
  return names;
}

using Names = std::vector<std::string>;

TEST(Sources, EveryFileIsEmbeddedAsItIs) {
  namespace fs = std::filesystem;
  std::size_t files = 0;
  for (const char* root : {"device", "kernels"}) {
    const fs::path folder = fs::path(KILN_TEMPLATES_FOLDER) / root;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      ++files;
      const std::string name = fs::relative(entry.path(), folder).string();
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      const auto embedded = find_source(name);
      ASSERT_TRUE(embedded) << name;
      EXPECT_EQ(*embedded, text) << name;
    }
  }
  EXPECT_EQ(files, embedded_files().size());
}

TEST(Sources, AnUnknownNameIsAbsent) {
  EXPECT_FALSE(find_source("kiln/none.h"));
  EXPECT_FALSE(find_source(""));
}

TEST(ReachedHeaders, FollowsIncludesDepthFirstAndEachOnce) {
  EXPECT_EQ(
      names_of(reached_headers("#include \"kiln/warp.h\"\n#include \"kiln/barrier.h\"\n", {})),
      (Names{"kiln/warp.h", "kiln/barrier.h", "kiln/dialect.h", "kiln/base.h",
             "kiln/dialect/cuda.h", "kiln/dialect/hip.h", "kiln/dialect/simt.h",
             "kiln/simt_abi.h"}));
}

TEST(ReachedHeaders, TakesAnyWayToWriteAnInclude) {
  const char* text =
      "#pragma once\n"
      "  #  include   \"kiln/base.h\"  // why\n"
      "#if 0\n#\tinclude\"kiln/cpu_abi.h\"\r\n#endif\n"
      "int last;";
  EXPECT_EQ(names_of(reached_headers(text, {})), (Names{"kiln/base.h", "kiln/cpu_abi.h"}));
}

TEST(ReachedHeaders, TakesNoIncludeFromCommentsStringsOrAngles) {
  const char* text =
      "// #include \"a.h\"\n"
      "/*\n#include \"b.h\"\n*/\n"
      "const char* s = \"/*\"; const char quote = '\"'; const int n = 1'000'000;\n"
      "#include <c.h>\n"
      "#include \"kiln/cpu_abi.h\"\n"
      "const char* t = \"*/ #include \\\"d.h\\\"\";\n"
      "/* open to the end\n#include \"e.h\"\n";
  EXPECT_EQ(names_of(reached_headers(text, {})), Names{"kiln/cpu_abi.h"});
}

TEST(ReachedHeaders, GeneratedOnesCountAsPresentAndAreFollowed) {
  const std::vector<SourceText> generated = {
      {"kiln/shape.h", "#pragma once\n#include \"kiln/cpu_abi.h\"\n"}};
  const char* text = "#include \"kiln/shape.h\"\n";
  EXPECT_EQ(names_of(reached_headers(text, generated)), Names{"kiln/cpu_abi.h"});
}

TEST(ReachedHeaders, AMissingOneIsNamedWithWhoIncludesIt) {
  const auto missing = reached_headers("#include \"kiln/nothing.h\"\n", {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::internal);
  EXPECT_EQ(missing.error().message,
            "'the source' includes \"kiln/nothing.h\", which is not among the embedded sources: "
            "put it under templates/device/ or templates/kernels/");
}

}  // namespace
}  // namespace kiln
