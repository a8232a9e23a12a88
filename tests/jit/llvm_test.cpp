// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/jit/llvm_sample.h"
#include "tests/jit/loaded_code.h"

namespace kiln::test {
namespace {

void expect_right_numbers(const Artifact& artifact) {
  const LoadedCode code(artifact);
  auto* axpy = code.find<void(const float*, float*, long)>(artifact.entries[0].symbol);
  auto* next = code.find<int()>(artifact.entries[1].symbol);
  auto* plain = code.find<float(float)>(artifact.entries[2].symbol);
  auto* local = code.find<int(int)>(artifact.entries[3].symbol);
  ASSERT_TRUE(axpy && next && plain && local);
  std::vector<float> x(64), y(64);
  for (int i = 0; i < 64; ++i) x[i] = static_cast<float>(i), y[i] = 1.0f;
  axpy(x.data(), y.data(), 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[i], 1.0f + 6.0f * static_cast<float>(i));
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(plain(1.0f), std::exp(1.0f));
  EXPECT_EQ(local(41), 42);
}

TEST_F(Llvm, CompilesToASharedObjectThatRuns) {
  const auto artifact = compiler_.compile(llvm_sample("x86-64-v2"));
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->format, CodeFormat::shared_object);
  EXPECT_EQ(artifact->compiler, "llvm");
  EXPECT_GT(artifact->compile_time_ms, 0);
  ASSERT_EQ(artifact->entries.size(), 4u);
  EXPECT_EQ(artifact->entries[0].name_expression, "kiln::axpy<3>");
  EXPECT_EQ(artifact->entries[0].symbol, "_ZN4kiln4axpyILi3EEEvPKfPfl");
  EXPECT_EQ(artifact->entries[2].symbol, "plain");
  EXPECT_EQ(artifact->entries[0].resources, KernelResources{});
  expect_right_numbers(*artifact);
}

TEST_F(Llvm, CompilesForThisHost) {
  const auto host = Arch::parse("cpu");
  if (!host) GTEST_SKIP() << host.error().message;
  for (const Arch& level : host->compatible()) {
    const auto artifact = compiler_.compile(llvm_sample(level.name()));
    ASSERT_TRUE(artifact) << level.name() << words_of(artifact);
    expect_right_numbers(*artifact);
  }
}

TEST_F(Llvm, CompilesForLevelsThatThisHostMayNotHave) {
  for (const char* name : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"}) {
    EXPECT_TRUE(compiler_.can_compile(arch(name))) << name;
    const auto artifact = compiler_.compile(llvm_sample(name));
    EXPECT_TRUE(artifact) << name << words_of(artifact);
  }
}

TEST_F(Llvm, OnlyEntryPointsAreVisible) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "extern \"C\" int bystander(int x) { return x; }\n";
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  const LoadedCode code(*artifact);
  EXPECT_TRUE(code.has("plain"));
  EXPECT_FALSE(code.has("bystander"));
  EXPECT_FALSE(code.has("kiln_entry_point_0"));
}

TEST_F(Llvm, FeaturesReachTheCode) {
  CompileInput input = llvm_sample("x86-64-v3");
  input.source.text =
      "#ifdef __AVX512BF16__\nint f() { return 1; }\n#else\nint f() { return 2; }\n"
      "#endif\n";
  input.name_expressions = {"f"};
  const auto without = compiler_.emit(input, "asm");
  input.arch = arch("x86-64-v4+avx512bf16");
  const auto with = compiler_.emit(input, "asm");
  ASSERT_TRUE(without && with) << words_of(without) << words_of(with);
  EXPECT_NE(without->find("$2, %eax"), std::string::npos) << *without;
  EXPECT_NE(with->find("$1, %eax"), std::string::npos) << *with;
}

TEST_F(Llvm, WideVectorsStayInOneRegister) {
  const auto wide = compiler_.emit(llvm_sample("x86-64-v4"), "asm");
  ASSERT_TRUE(wide) << words_of(wide);
  EXPECT_NE(wide->find("%zmm"), std::string::npos);
  EXPECT_NE(wide->find("vfmadd"), std::string::npos) << "-ffp-contract=fast";
  const auto half = compiler_.emit(llvm_sample("x86-64-v3"), "asm");
  ASSERT_TRUE(half) << words_of(half);
  EXPECT_EQ(half->find("%zmm"), std::string::npos);
  EXPECT_NE(half->find("%ymm"), std::string::npos);
}

// -ffast-math would fold this comparison and drop the sign.
TEST_F(Llvm, InfinitiesAndNansAreKept) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text =
      "bool is_nan(float x) { return x != x; }\n"
      "float plus_zero(float x) { return x + 0.0f; }\n";
  input.name_expressions = {"is_nan", "plus_zero"};
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  const LoadedCode code(*artifact);
  EXPECT_TRUE(code.find<bool(float)>(artifact->entries[0].symbol)(NAN));
  EXPECT_FALSE(code.find<bool(float)>(artifact->entries[0].symbol)(INFINITY));
  EXPECT_FALSE(std::signbit(code.find<float(float)>(artifact->entries[1].symbol)(-0.0f)));
}

TEST_F(Llvm, EmitsOptimizedIrAndAssembly) {
  const auto ir = compiler_.emit(llvm_sample("x86-64-v3"), "llvm");
  ASSERT_TRUE(ir) << words_of(ir);
  EXPECT_NE(ir->find("define void @_ZN4kiln4axpyILi3EEEvPKfPfl"), std::string::npos) << *ir;
  EXPECT_EQ(ir->find("alloca"), std::string::npos) << "not optimized";
  const auto assembly = compiler_.emit(llvm_sample("x86-64-v3"), "asm");
  ASSERT_TRUE(assembly) << words_of(assembly);
  EXPECT_NE(assembly->find("_ZN4kiln4axpyILi3EEEvPKfPfl:"), std::string::npos);
  const auto ptx = compiler_.emit(llvm_sample("x86-64-v3"), "ptx");
  ASSERT_FALSE(ptx);
  EXPECT_EQ(ptx.error().code, ErrorCode::invalid_argument);
}

TEST_F(Llvm, WarningsAreKept) {
  CompileInput input = llvm_sample("x86-64-v2");
  input.source.text += "#warning mind the gap\n";
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_NE(artifact->log.find("axpy/vector.cpp:14:2: warning: mind the gap"), std::string::npos)
      << artifact->log;
}

TEST_F(Llvm, ThreadsCompileAtTheSameTime) {
  const auto alone = compiler_.compile(llvm_sample("x86-64-v3"));
  ASSERT_TRUE(alone) << words_of(alone);
  std::vector<Result<Artifact>> made(24, Result<Artifact>(tl::unexpect, Error{}));
  on_threads(8, [&](int thread) {
    for (int i = 0; i < 3; ++i) {
      CompileInput input = llvm_sample("x86-64-v3");
      if (i == 1) input.source.text += "\nbroken";
      made[static_cast<std::size_t>(thread * 3 + i)] = compiler_.compile(input);
    }
  });
  for (std::size_t i = 0; i < made.size(); ++i) {
    ASSERT_EQ(made[i].has_value(), i % 3 != 1) << words_of(made[i]);
    if (made[i]) {
      EXPECT_EQ(made[i]->encode(), alone->encode());
    } else {
      EXPECT_NE(made[i].error().log.find("broken"), std::string::npos);
    }
  }
}

TEST_F(Llvm, ToolchainNamesPluginLibrariesAndOptions) {
  const auto toolchain = compiler_.toolchain();
  ASSERT_TRUE(toolchain) << words_of(toolchain);
  const std::string text = toolchain->text();
  EXPECT_EQ(toolchain->find("backend"), "llvm");
  for (const char* words : {"libkiln_llvm.so ", "libLLVM", "libclang-cpp", "-O3", "-shared"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  }
}

TEST_F(Llvm, Description) {
  const auto description = compiler_.describe();
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_GE(description->libraries.size(), 3u);
  for (const char* name : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    EXPECT_NE(std::find(description->archs.begin(), description->archs.end(), name),
              description->archs.end())
        << name;
  }
}

}  // namespace
}  // namespace kiln::test
