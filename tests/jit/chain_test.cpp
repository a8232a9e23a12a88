// SPDX-License-Identifier: Apache-2.0
#include "tests/jit/compilers_for_test.h"

namespace kiln::test {
namespace {

std::vector<std::string> chain_of(std::string_view name) {
  const Compilers compilers(settings_from_environment());
  std::vector<std::string> names;
  for (const Compiler* compiler : compilers.chain(arch(name))) names.emplace_back(compiler->name());
  return names;
}

using Names = std::vector<std::string>;

TEST(Chain, PerFamily) {
  EXPECT_EQ(chain_of("sm_80"), Names{"nvrtc"});
  EXPECT_EQ(chain_of("x86-64-v3"), Names{"llvm"});
  EXPECT_EQ(chain_of("gfx90a"), (Names{"hiprtc", "llvm"}));
  EXPECT_EQ(chain_of("simt"), Names{"llvm"});
}

TEST(Chain, AllForDoctor) {
  const Compilers compilers(settings_from_environment());
  Names names;
  for (const Compiler* compiler : compilers.all()) names.emplace_back(compiler->name());
  EXPECT_EQ(names, (Names{"nvrtc", "hiprtc", "llvm"}));
}

// A missing library is an answer with a way out, from every function that needs it.
TEST(Chain, AMissingLibrarySaysHowToGetIt) {
  CompilerSettings settings;
  settings.nvrtc_library = "/nonexistent/libnvrtc.so";
  settings.hiprtc_library = "/nonexistent/libhiprtc.so";
  settings.llvm_plugin = "/nonexistent/libkiln_llvm.so";
  const Compilers compilers(settings);
  for (const char* name : {"sm_80", "gfx90a", "x86-64-v2"}) {
    Compiler& compiler = *compilers.chain(arch(name)).front();
    const CompileInput input{"op", "op/i", {}, arch(name), {"a", ""}, {}, {"f"}, {}};
    std::vector<LibraryAttempt> attempts;
    std::vector<std::string> messages = {
        compiler.toolchain().error().message, compiler.can_compile(arch(name)).reason(),
        compiler.compile(input).error().message, compiler.describe(&attempts).error().message};
    if (compiler.name() != "hiprtc") {  // it emits nothing anyway
      const char* kind = compiler.name() == "nvrtc" ? "ptx" : "asm";
      messages.push_back(compiler.emit(input, kind).error().message);
    }
    for (const std::string& message : messages) {
      EXPECT_NE(message.find("/nonexistent/"), std::string::npos) << message;
      EXPECT_NE(message.find("KILN_"), std::string::npos) << message;
    }
    EXPECT_EQ(compiler.compile(input).error().code, ErrorCode::unavailable);
    EXPECT_EQ(attempts.size(), 1u);
  }
}

TEST(Chain, EachCompilerRefusesTheArchsOfTheOther) {
  const Compilers compilers(settings_from_environment());
  Compiler& nvrtc = *compilers.chain(arch("sm_80")).front();
  Compiler& hiprtc = *compilers.chain(arch("gfx90a")).front();
  Compiler& llvm = *compilers.chain(arch("x86-64-v2")).front();
  EXPECT_NE(nvrtc.can_compile(arch("x86-64-v2")).reason().find("x86-64-v2"), std::string::npos);
  EXPECT_NE(hiprtc.can_compile(arch("sm_80")).reason().find("sm_80"), std::string::npos);
  EXPECT_NE(llvm.can_compile(arch("sm_80")).reason().find("sm_80"), std::string::npos);
  const CompileInput gpu{"op", "op/i", {}, arch("sm_80"), {"a", ""}, {}, {"f"}, {}};
  EXPECT_EQ(llvm.compile(gpu).error().code, ErrorCode::unavailable);
  EXPECT_EQ(hiprtc.compile(gpu).error().code, ErrorCode::unavailable);
  const CompileInput cpu{"op", "op/i", {}, arch("x86-64-v2"), {"a", ""}, {}, {"f"}, {}};
  EXPECT_EQ(nvrtc.compile(cpu).error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace kiln::test
