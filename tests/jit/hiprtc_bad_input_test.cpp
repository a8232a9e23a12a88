// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/jit/gpu_sample.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

TEST_F(Hiprtc, AnErrorCarriesTheCompilersWordsAndTheLine) {
  CompileInput input = gpu_sample("gfx90a");
  input.source.text += "\n__global__ void bad() { undeclared = 1; }\n";
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  EXPECT_NE(artifact.error().log.find("reverse/simple.cu:13:25: error"), std::string::npos)
      << artifact.error().log;
  EXPECT_NE(artifact.error().message.find("undeclared"), std::string::npos);
  EXPECT_NE(artifact.error().message.find("reverse/simple gfx90a"), std::string::npos);
  EXPECT_EQ(artifact.error().message.find('\n'), std::string::npos);
}

TEST_F(Hiprtc, AnErrorInAHeaderHasItsLine) {
  CompileInput input = gpu_sample("gfx90a");
  input.headers[0].text = "constexpr int kTile = 64;\nint wrong = nothing;";
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_NE(artifact.error().log.find("kiln/tile.h:2:13: error"), std::string::npos)
      << artifact.error().log;
}

TEST_F(Hiprtc, ABadNameExpressionFails) {
  for (const char* expression :
       {"kiln::no_such", "kiln::reverse", "1 +", "", "variable", "function"}) {
    CompileInput input = gpu_sample("gfx90a");
    input.source.text += "__device__ int variable; __device__ int function() { return variable; }";
    input.name_expressions = {expression};
    const auto artifact = compiler_.compile(input);
    ASSERT_FALSE(artifact) << expression;
    EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed) << artifact.error().message;
  }
}

TEST_F(Hiprtc, ABadOptionFails) {
  CompileInput input = gpu_sample("gfx90a");
  input.options = {"-std=c++99"};
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  EXPECT_NE(artifact.error().message.find("c++99"), std::string::npos) << artifact.error().message;
}

// Each of these would end the process if hipRTC saw it.
TEST_F(Hiprtc, AnUnknownArchSaysWhichAreKnown) {
  for (const char* name : {"gfx9999", "gfx000", "gfx9-4-generic"}) {
    const auto artifact = compiler_.compile(gpu_sample(name));
    ASSERT_FALSE(artifact) << name;
    EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
    EXPECT_NE(artifact.error().message.find(std::string("not know ") + name), std::string::npos);
    EXPECT_NE(artifact.error().message.find("gfx908"), std::string::npos)
        << artifact.error().message;
    EXPECT_FALSE(compiler_.can_compile(arch(name)));
  }
  EXPECT_TRUE(compiler_.can_compile(arch("gfx90a")));
}

// What is listed compiles, and what is not is refused: whichever version is here.
TEST_F(Hiprtc, NewerArchsCompileOrAreRefused) {
  for (const char* name : {"gfx942", "gfx950", "gfx1100", "gfx1201"}) {
    const bool known = static_cast<bool>(compiler_.can_compile(arch(name)));
    const auto artifact = compiler_.compile(gpu_sample(name));
    EXPECT_EQ(artifact.has_value(), known) << words_of(artifact);
    if (!known) {
      EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
    }
  }
}

TEST_F(Hiprtc, AFeatureThatTheChipLacksIsRefused) {
  for (const char* name : {"gfx1030:xnack-", "gfx900:sramecc+"}) {
    const auto artifact = compiler_.compile(gpu_sample(name));
    ASSERT_FALSE(artifact) << name;
    EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
    EXPECT_NE(artifact.error().message.find(std::string("but not ") + name), std::string::npos)
        << artifact.error().message;
    EXPECT_FALSE(compiler_.can_compile(arch(name)));
  }
  for (const char* name : {"gfx90a:sramecc-:xnack+", "gfx908:xnack+", "gfx906:sramecc+"}) {
    EXPECT_TRUE(compiler_.can_compile(arch(name))) << compiler_.can_compile(arch(name)).reason();
  }
}

TEST_F(Hiprtc, RefusesWhatCannotBeCached) {
  CompileInput input = gpu_sample("gfx90a");
  input.source.text += "// __DATE__";
  EXPECT_EQ(compiler_.compile(input).error().code, ErrorCode::invalid_argument);
}

// A current folder for one test.
class CurrentFolder {
 public:
  explicit CurrentFolder(const fs::path& folder) : before_(fs::current_path()) {
    fs::current_path(folder);
  }
  ~CurrentFolder() { fs::current_path(before_); }
  CurrentFolder(const CurrentFolder&) = delete;
  CurrentFolder& operator=(const CurrentFolder&) = delete;

 private:
  fs::path before_;
};

TEST_F(Hiprtc, FilesOfThisMachineAreNotSeen) {
  const TempFolder folder;
  folder.write("leak.h", "#define LEAKED 1");
  const CurrentFolder here(folder.path());
  for (const char* include : {"#include \"leak.h\"\n", "#include <hip/hip_fp16.h>\n",
                              "#if __has_include(<stdint.h>)\n#endif\n", "%:include \"leak.h\"\n",
                              "%:include <linux/limits.h>\n"}) {
    CompileInput input = gpu_sample("gfx90a");
    input.source.text.insert(0, include);
    const auto artifact = compiler_.compile(input);
    ASSERT_FALSE(artifact) << include;
    EXPECT_EQ(artifact.error().code, ErrorCode::invalid_argument);
  }
}

TEST_F(Hiprtc, AFileInPlaceOfItsOwnHeaderIsRefused) {
  const TempFolder folder;
  folder.write("hiprtc_runtime.h", "#define LEAKED 1");
  const CurrentFolder here(folder.path());
  const auto artifact = compiler_.compile(gpu_sample("gfx90a"));
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
  EXPECT_NE(artifact.error().message.find("hiprtc_runtime.h"), std::string::npos);
  EXPECT_NE(artifact.error().message.find(folder.path().string()), std::string::npos);
}

}  // namespace
}  // namespace kiln::test
