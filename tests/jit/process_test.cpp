// SPDX-License-Identifier: Apache-2.0
// What only a fresh process shows: nothing is loaded before it is needed, code is reproducible,
// and the host's signal handlers are left alone.
#include <gtest/gtest.h>

#include "tests/jit/llvm_sample.h"
#include "tests/support/process.h"

namespace kiln::test {
namespace {

ProcessResult probe(const char* what) {
  return run_process({KILN_JIT_PROBE, what});
}

bool maps(const ProcessResult& result, const char* library) {
  return result.out.find(library) != std::string::npos;
}

constexpr const char* kVendorLibraries[] = {"libnvrtc",  "libcuda",     "libkiln_llvm",
                                            "libLLVM",   "libclang",    "libamdhip64",
                                            "libhiprtc", "libamd_comgr"};

TEST(Start, CompilersAndToolchainsLoadNothing) {
  const ProcessResult result = probe("start");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(maps(result, "libc.so.6"));
  for (const char* library : kVendorLibraries) EXPECT_FALSE(maps(result, library)) << library;
}

class NvrtcProcess : public CompilerTest {
 protected:
  NvrtcProcess() : CompilerTest("sm_80") {}
};

TEST_F(NvrtcProcess, ACompileLoadsItsOwnLibraryOnly) {
  const ProcessResult result = probe("nvrtc");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(maps(result, "libnvrtc.so"));
  EXPECT_TRUE(maps(result, "libnvrtc-builtins.so"));
  EXPECT_FALSE(maps(result, "libLLVM"));
}

TEST_F(Llvm, ACompileLoadsItsOwnLibraryOnly) {
  const ProcessResult result = probe("llvm");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(maps(result, "libLLVM"));
  EXPECT_FALSE(maps(result, "libnvrtc"));
}

TEST_F(Llvm, TwoProcessesMakeTheSameBytes) {
  const ProcessResult first = probe("digest");
  const ProcessResult second = probe("digest");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out.size(), 2 * Digest::kSize + 1);
  EXPECT_EQ(first.out, second.out);
}

TEST_F(Llvm, ACompileLeavesSignalHandlersAlone) {
  const ProcessResult result = probe("signals");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
}

TEST_F(Llvm, AFatalErrorOfLldDoesNotEndTheProcess) {
  // lld jumps out of its own frames then, and what they held is lost.
  const ProcessResult result =
      run_process({KILN_JIT_PROBE, "fatal"}, {{"ASAN_OPTIONS", "detect_leaks=0"}});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "alive\n") << result.err;
  EXPECT_NE(result.err.find("sh_entsize"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("lld broke down earlier in this process"), std::string::npos);
}

}  // namespace
}  // namespace kiln::test
