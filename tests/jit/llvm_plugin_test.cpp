// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/jit/llvm_sample.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

std::string compile_error_with_plugin(const std::filesystem::path& plugin) {
  CompilerSettings settings = settings_from_environment();
  settings.llvm_plugin = plugin;
  const Compilers compilers(settings);
  const CompileInput input = llvm_sample("x86-64-v2");
  const auto artifact = compilers.chain(input.arch).front()->compile(input);
  EXPECT_FALSE(artifact);
  if (artifact) return {};
  EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
  return artifact.error().message;
}

TEST_F(Llvm, ThePluginExportsItsEntryAndNothingElse) {
  const auto description = compiler_.describe();
  ASSERT_TRUE(description) << words_of(description);
  const ProcessResult result = run_process({"/usr/bin/env", "nm", "-D", "--defined-only",
                                            "--format=just-symbols", description->libraries[0]});
  if (result.exit_code != 0) GTEST_SKIP() << "no nm here: " << result.err;
  EXPECT_EQ(result.out, "kiln_llvm_plugin\n");
}

TEST(LlvmPlugin, OfAnotherVersionIsRefused) {
  const std::string message = compile_error_with_plugin(KILN_LLVM_OF_ANOTHER_VERSION);
  EXPECT_NE(message.find("build both from one source"), std::string::npos) << message;
  EXPECT_NE(message.find(KILN_LLVM_OF_ANOTHER_VERSION), std::string::npos) << message;
}

TEST(LlvmPlugin, WhatIsNoPluginIsRefused) {
  const TempFolder folder;
  const std::string message = compile_error_with_plugin(folder.write("text.so", "not ELF"));
  EXPECT_NE(message.find("is not a 64-bit ELF library"), std::string::npos) << message;
  const std::string other = compile_error_with_plugin(KILN_STUBS "/nvrtc-12.9/libnvrtc.so");
  EXPECT_NE(other.find("kiln_llvm_plugin"), std::string::npos) << other;
}

}  // namespace
}  // namespace kiln::test
