// SPDX-License-Identifier: Apache-2.0
// gfx* through the chain of compilers: hipRTC is played by stubs that refuse, break down or are not
// there, LLVM is real.
#include <gtest/gtest.h>

#include <fstream>

#include "kiln/runtime.h"
#include "tests/support/temp_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

CompileInput one_kernel(const char* arch_name) {
  return {"one",
          "one/plain",
          {},
          *Arch::parse(arch_name),
          {"one/plain.cu",
           "#include \"one/value.h\"\n"
           "extern \"C\" __global__ void plain(int* p) { *p = kValue; }\n"},
          {{"one/value.h", "constexpr int kValue = 1;\n"}},
          {"plain"},
          {"-std=c++17"}};
}

class CompilerChain : public testing::Test {
 protected:
  std::unique_ptr<Runtime> runtime_with(const fs::path& hiprtc) {
    Options options = *Options::from_environment();
    options.cache_folder = folder_.path() / "cache";
    options.dump_folder = folder_.path() / "dump";
    options.compilers.hiprtc_library = hiprtc;
    options.compilers.comgr_library = {};
    return *Runtime::create(std::move(options));
  }

  void SetUp() override {
    const auto runtime = runtime_with("/nonexistent/libhiprtc.so");
    const auto toolchain = runtime->compilers().chain(*Arch::parse("gfx942")).back()->toolchain();
    if (!toolchain) GTEST_SKIP() << toolchain.error().message;
  }

  test::TempFolder folder_;
};

const fs::path kBreaksDown = KILN_STUBS "/rocm-breaks-down/libhiprtc.so.7";

bool holds(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

TEST_F(CompilerChain, WhereHiprtcIsNotThereOrBreaksDownLlvmCompiles) {
  const std::pair<fs::path, const char*> cases[] = {
      {"/nonexistent/libhiprtc.so", "KILN_HIPRTC_LIBRARY names '/nonexistent/libhiprtc.so'"},
      {kBreaksDown, "cannot compile one/plain gfx942: status 7"}};
  for (const auto& [hiprtc, reason] : cases) {
    const auto runtime = runtime_with(hiprtc);
    CompileInput input = one_kernel("gfx942");
    input.options.push_back("-DCASE=" + std::to_string(hiprtc.string().size()));
    const auto made = runtime->prepare(input);
    ASSERT_TRUE(made) << made.error().message << made.error().log;
    EXPECT_EQ(made->artifact->compiler, "llvm");
    EXPECT_NE(made->artifact->compiler_version, "");
    EXPECT_EQ(made->artifact->format, CodeFormat::hsaco);
    ASSERT_EQ(made->artifact->passed_over.size(), 1u);
    EXPECT_EQ(made->artifact->passed_over[0].compiler, "hiprtc");
    EXPECT_TRUE(holds(made->artifact->passed_over[0].reason, reason))
        << made->artifact->passed_over[0].reason;
    Counters expected;
    expected.compiles = 1;
    EXPECT_EQ(runtime->counters(), expected);
  }
}

// An op's kernel is the same, whatever it is that the better compiler lacks.
TEST_F(CompilerChain, AnOpGetsTheKernelThatTheNextCompilerMakes) {
  const Op& op = **find_op("attention_prefill");
  const Arch arch = *Arch::parse("gfx942");
  const auto made_with = [&](const fs::path& hiprtc) {
    Options options = *Options::from_environment();
    options.cache_policy = CachePolicy::off;
    options.compilers.hiprtc_library = hiprtc;
    options.compilers.comgr_library = {};
    const auto runtime = *Runtime::create(std::move(options));
    const Shape shape = parse_arguments(op, {})->shape;
    const auto selection = runtime->select(op, shape, arch);
    EXPECT_TRUE(selection) << selection.error().message;
    return runtime->prepare(*make_input(op, *selection->implementation, shape, arch));
  };
  const auto alone = made_with("/nonexistent/libhiprtc.so");
  ASSERT_TRUE(alone) << alone.error().message << alone.error().log;
  const std::pair<const char*, const char*> cases[] = {
      {"rocm-lacks-required", "'hiprtcGetCodeSize'"},
      {"rocm-comgr-lacks-required", "'amd_comgr_get_isa_name'"},
      {"rocm-no-version-breaks-down", "hipRTC of unknown version"}};
  for (const auto& [folder, reason] : cases) {
    SCOPED_TRACE(folder);
    const auto made = made_with(fs::path(KILN_STUBS) / folder / "libhiprtc.so.7");
    ASSERT_TRUE(made) << made.error().message << made.error().log;
    EXPECT_EQ(made->artifact->compiler, "llvm");
    EXPECT_TRUE(made->artifact->code == alone->artifact->code);
    ASSERT_EQ(made->artifact->passed_over.size(), 1u);
    EXPECT_TRUE(holds(made->artifact->passed_over[0].reason, reason))
        << made->artifact->passed_over[0].reason;
  }
}

TEST_F(CompilerChain, TheStoredEntryRemembersWhoMadeItAndWhyNotAnother) {
  const auto made = runtime_with(kBreaksDown)->prepare(one_kernel("gfx1100"));
  ASSERT_TRUE(made) << made.error().message;
  const auto again = runtime_with(kBreaksDown)->prepare(one_kernel("gfx1100"));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->tier, Tier::disk);
  EXPECT_EQ(again->artifact->compiler, "llvm");
  EXPECT_EQ(again->artifact->compiler_version, made->artifact->compiler_version);
  EXPECT_EQ(again->artifact->passed_over, made->artifact->passed_over);
}

TEST_F(CompilerChain, WhereNoneCanEachReasonIsGiven) {
  const auto made = runtime_with(kBreaksDown)->prepare(one_kernel("gfx9999"));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(holds(made.error().message, "hipRTC 10.1")) << made.error().message;
  EXPECT_TRUE(holds(made.error().message, "LLVM ")) << made.error().message;
  EXPECT_TRUE(holds(made.error().message, "does not know gfx9999")) << made.error().message;
}

// A wrong source is wrong for the next compiler too: it is not asked.
TEST_F(CompilerChain, AWrongSourceEndsTheChainAndIsDumped) {
  const auto runtime = runtime_with("/nonexistent/libhiprtc.so");
  CompileInput input = one_kernel("gfx942");
  input.headers[0].text = "\nconstexpr int kValue = undeclared;\n";
  const auto made = runtime->prepare(input);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::compile_failed);
  EXPECT_TRUE(holds(made.error().message, "cannot compile one/plain gfx942: one/value.h:2:24: "))
      << made.error().message;
  Counters expected;
  expected.compile_failures = 1;
  EXPECT_EQ(runtime->counters(), expected);

  const std::string name = "one-plain.gfx942.llvm." + input.request().digest().short_hex();
  const fs::path dump = folder_.path() / "dump" / name;
  const auto text_of = [&](const char* file) {
    std::ifstream stream(dump / file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  EXPECT_EQ(text_of("source/one/plain.cu"), input.source.text);
  EXPECT_EQ(text_of("source/one/value.h"), input.headers[0].text);
  EXPECT_TRUE(holds(text_of("options.txt"), "option            -std=c++17\n"));
  EXPECT_TRUE(holds(text_of("options.txt"), "name expression   plain\n"));
  EXPECT_TRUE(holds(text_of("options.txt"), "toolchain         amdgpu_options: -triple amdgcn"));
  EXPECT_EQ(text_of("log.txt"), made.error().log);
  EXPECT_EQ(text_of("result.txt"), made.error().message + "\n");
  EXPECT_FALSE(fs::exists(dump / "code.hsaco"));
  ASSERT_TRUE(runtime->prepare(one_kernel("gfx942")));
  const std::string good = one_kernel("gfx942").request().digest().short_hex();
  EXPECT_TRUE(
      fs::exists(folder_.path() / "dump" / ("one-plain.gfx942.llvm." + good) / "code.hsaco"));
}

TEST_F(CompilerChain, ADumpThatCannotBeWrittenFailsNothing) {
  folder_.write("dump", "a file in the place of the folder");
  const auto made = runtime_with("/nonexistent/libhiprtc.so")->prepare(one_kernel("gfx942"));
  EXPECT_TRUE(made) << made.error().message;
}

}  // namespace
}  // namespace kiln
