// SPDX-License-Identifier: Apache-2.0
// Errors of lld come from hand-made sections: clang itself makes no object that lld refuses.
#include <gtest/gtest.h>

#include "jit/base/elf.h"
#include "tests/jit/llvm_sample.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

CompileInput with_assembly(const std::string& lines) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "asm(R\"(" + lines + ")\");\n";
  return input;
}

TEST_F(Llvm, SharedObjectsNeedNoLibraryAndHoldNoPathOfThisMachine) {
  const auto artifact = compiler_.compile(llvm_sample("x86-64-v3"));
  ASSERT_TRUE(artifact) << words_of(artifact);
  const TempFolder folder;
  const auto file = folder.write("kernel.so", as_text(artifact->code));
  const auto dependencies = library_dependencies(file);
  ASSERT_TRUE(dependencies) << words_of(dependencies);
  EXPECT_TRUE(dependencies->needed.empty());
  EXPECT_TRUE(dependencies->run_path.empty());
  for (const char* path : {"/proc", "/tmp", "/home", "/work", "/usr", "/var", "/root"}) {
    EXPECT_EQ(as_text(artifact->code).find(path), std::string_view::npos) << path;
  }
}

TEST_F(Llvm, LibrariesAskedForByPragmaAreNotSearched) {
  CompileInput input = llvm_sample("x86-64-v2");
  const TempFolder folder;
  const auto file = folder.write("libextra.so", "not a library: reading it would be an error");
  input.source.text += "#pragma comment(lib, \"" + file.string() + "\")\n";
  const auto artifact = compiler_.compile(input);
  EXPECT_TRUE(artifact) << words_of(artifact);
}

TEST_F(Llvm, AnErrorOfLldIsAnErrorAndLldGoesOn) {
  const auto failed =
      compiler_.compile(with_assembly(".globl odd\n.symver odd, odd@NO_SUCH_VERSION\nodd:\n"));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::compile_failed);
  EXPECT_NE(failed.error().log.find("NO_SUCH_VERSION"), std::string::npos) << failed.error().log;
  EXPECT_EQ(failed.error().log.find("/proc/"), std::string::npos) << failed.error().log;
  const auto artifact = compiler_.compile(llvm_sample("x86-64-v2"));
  EXPECT_TRUE(artifact) << words_of(artifact);
}

}  // namespace
}  // namespace kiln::test
