// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/jit/gpu_sample.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;

class Nvrtc : public CompilerTest {
 protected:
  Nvrtc() : CompilerTest("sm_80") {}
};

class NvrtcArch : public Nvrtc, public testing::WithParamInterface<const char*> {};

TEST_P(NvrtcArch, CompilesToMachineCodeWithNamesAndResources) {
  const CompileInput input = gpu_sample(GetParam());
  if (const Answer can = compiler_.can_compile(input.arch); !can) GTEST_SKIP() << can.reason();
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->format, CodeFormat::cubin);
  ASSERT_GT(artifact->code.size(), 4u);
  EXPECT_EQ(as_text(artifact->code).substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_EQ(artifact->compiler, "nvrtc");
  EXPECT_GT(artifact->compile_time_ms, 0);

  ASSERT_EQ(artifact->entries.size(), 3u);
  EXPECT_EQ(artifact->entries[0].name_expression, "kiln::reverse<2>");
  EXPECT_EQ(artifact->entries[0].symbol, "_ZN4kiln7reverseILi2EEEvPf");
  EXPECT_EQ(artifact->entries[1].symbol, "plain");
  EXPECT_EQ(artifact->entries[2].symbol, "_ZN4kiln7reverseILi4EEEvPf");
  const KernelResources& two = artifact->entries[0].resources;
  EXPECT_GT(two.registers.value_or(0), 0);
  EXPECT_EQ(two.shared_bytes_static.value_or(0) / 512, 1);  // sm_90 on reserves some of its own
  EXPECT_EQ(two.spill_store_bytes, 0);
  EXPECT_EQ(two.spill_load_bytes, 0);
  EXPECT_EQ(two.stack_bytes, 0);
  EXPECT_EQ(artifact->entries[2].resources.shared_bytes_static.value_or(0) / 1024, 1);
}

INSTANTIATE_TEST_SUITE_P(Chips, NvrtcArch, testing::Values("sm_80", "sm_90a", "sm_100a", "sm_120"),
                         [](const auto& chip) { return std::string(chip.param); });

TEST_F(Nvrtc, TheSameInputGivesTheSameCode) {
  const auto first = compiler_.compile(gpu_sample("sm_80"));
  const auto second = compiler_.compile(gpu_sample("sm_80"));
  ASSERT_TRUE(first && second) << words_of(first) << words_of(second);
  EXPECT_EQ(first->encode(), second->encode());
}

TEST_F(Nvrtc, OptionsAndHeadersReachTheCode) {
  const auto base = compiler_.compile(gpu_sample("sm_80"));
  CompileInput other = gpu_sample("sm_80");
  other.options[0] = "-DSCALE=5.0f";
  const auto scaled = compiler_.compile(other);
  other = gpu_sample("sm_80");
  other.headers[0].text = "constexpr int kTile = 32;";
  const auto smaller = compiler_.compile(other);
  ASSERT_TRUE(base && scaled && smaller);
  EXPECT_NE(base->code, scaled->code);
  EXPECT_NE(base->code, smaller->code);
}

TEST_F(Nvrtc, SpillsAreReported) {
  CompileInput input = gpu_sample("sm_80");
  input.source.text = R"(__global__ void __launch_bounds__(1024, 2) spill(float* p, int n) {
  float a[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) a[i] = p[i * 1024 + threadIdx.x];
  for (int k = 0; k < n; ++k)
#pragma unroll
    for (int i = 0; i < 64; ++i) a[i] = a[i] * a[(i + 17) % 64] + p[k];
#pragma unroll
  for (int i = 0; i < 64; ++i) p[i * 1024 + threadIdx.x] = a[i];
})";
  input.name_expressions = {"spill"};
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  const KernelResources& resources = artifact->entries[0].resources;
  EXPECT_EQ(resources.registers, 32);
  EXPECT_GT(resources.spill_store_bytes.value_or(0), 0);
  EXPECT_GT(resources.spill_load_bytes.value_or(0), 0);
  EXPECT_GT(resources.stack_bytes.value_or(0), 0);
}

TEST_F(Nvrtc, AnErrorCarriesTheCompilersWordsAndTheLine) {
  CompileInput input = gpu_sample("sm_80");
  input.source.text += "\n__global__ void bad() { undeclared = 1; }\n";
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  EXPECT_NE(artifact.error().log.find("reverse/simple.cu(13): error"), std::string::npos)
      << artifact.error().log;
  EXPECT_NE(artifact.error().message.find("undeclared"), std::string::npos);
  EXPECT_NE(artifact.error().message.find("reverse/simple sm_80"), std::string::npos);
  EXPECT_EQ(artifact.error().message.find('\n'), std::string::npos);
}

// ptxas names a line of PTX, which nobody has seen.
TEST_F(Nvrtc, AnErrorInInlinePtxIsMappedToTheSource) {
  CompileInput input = gpu_sample("sm_80");
  input.headers[0].text += R"(
__device__ __forceinline__ int odd(int x) {
  int y;
  asm("bogus.u32 %0, %1;" : "=r"(y) : "r"(x));
  return y;
})";
  input.source.text += "\n__global__ void bad(int* p) { *p = odd(*p); }\n";
  input.name_expressions = {"bad"};
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  const std::string& message = artifact.error().message;
  EXPECT_NE(message.find("reverse/simple sm_80: kiln/tile.h:4: Not a name of any known "
                         "instruction: 'bogus'; PTX line "),
            std::string::npos)
      << message << artifact.error().log;
  EXPECT_NE(message.find("bogus.u32 %"), std::string::npos) << message;
}

TEST_F(Nvrtc, ABadNameExpressionFails) {
  for (const char* expression : {"kiln::no_such", "kiln::reverse", "1 +", ""}) {
    CompileInput input = gpu_sample("sm_80");
    input.name_expressions = {expression};
    const auto artifact = compiler_.compile(input);
    ASSERT_FALSE(artifact) << expression;
    EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed) << artifact.error().message;
  }
}

TEST_F(Nvrtc, ABadOptionFailsAndIsNotTakenForABadArch) {
  CompileInput input = gpu_sample("sm_80");
  input.options = {"-std=c++99"};
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  EXPECT_NE(artifact.error().message.find("std"), std::string::npos) << artifact.error().message;
}

// A chip newer than the compiler, or one that it has left out: PTX for the newest that it knows and
// that the chip can run.
TEST_F(Nvrtc, AnUnknownArchGetsPtxForTheNewestKnownOne) {
  const auto description = compiler_.describe();
  ASSERT_TRUE(description) << words_of(description);
  const std::pair<const char*, std::string> cases[] = {{"sm_999", description->archs.back()},
                                                       {"sm_91a", "sm_90"}};
  for (const auto& [name, newest] : cases) {
    const Answer answer = compiler_.can_compile(arch(name));
    ASSERT_TRUE(answer) << answer.reason();
    EXPECT_NE(answer.note().find(std::string("not know ") + name + ": PTX for " + newest + ","),
              std::string::npos)
        << answer.note();
    const auto artifact = compiler_.compile(gpu_sample(name));
    ASSERT_TRUE(artifact) << words_of(artifact);
    EXPECT_EQ(artifact->format, CodeFormat::ptx);
    EXPECT_EQ(artifact->note, answer.note());
    const std::string_view ptx = as_text(artifact->code);
    EXPECT_NE(ptx.find(".target " + newest + "\n"), std::string_view::npos) << ptx.substr(0, 300);
    EXPECT_NE(ptx.find(".entry _ZN4kiln7reverseILi2EEEvPf"), std::string_view::npos);
    EXPECT_EQ(artifact->entries.at(1).symbol, "plain");
  }
}

TEST_F(Nvrtc, AnArchTooOldForAllOfThemSaysWhichAreKnown) {
  for (const char* name : {"sm_20", "sm_10"}) {
    const auto artifact = compiler_.compile(gpu_sample(name));
    ASSERT_FALSE(artifact) << name;
    EXPECT_EQ(artifact.error().code, ErrorCode::unavailable);
    EXPECT_NE(artifact.error().message.find(std::string("not know ") + name + ";"),
              std::string::npos);
    EXPECT_NE(artifact.error().message.find("sm_80, sm_86"), std::string::npos)
        << artifact.error().message;
    EXPECT_FALSE(compiler_.can_compile(arch(name)));
  }
  EXPECT_TRUE(compiler_.can_compile(arch("sm_80")));
}

TEST_F(Nvrtc, RefusesWhatCannotBeCached) {
  CompileInput input = gpu_sample("sm_80");
  input.source.text += "// __DATE__";
  EXPECT_EQ(compiler_.compile(input).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(compiler_.emit(input, "ptx").error().code, ErrorCode::invalid_argument);
}

// The folder of the source's name, below the current one, is where NVRTC would look by itself.
TEST_F(Nvrtc, FilesOfThisMachineAreNotSeen) {
  const TempFolder folder;
  fs::create_directory(folder.path() / "reverse");
  folder.write("reverse/leak.h", "#define LEAKED 1");
  folder.write("leak.h", "#define LEAKED 1");
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  for (const char* include : {"#include \"leak.h\"\n", "#include <leak.h>\n"}) {
    CompileInput input = gpu_sample("sm_80");
    input.source.text.insert(0, include);
    const auto artifact = compiler_.compile(input);
    EXPECT_FALSE(artifact) << include;
    if (!artifact) {
      EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
    }
  }
  fs::current_path(before);
}

TEST_F(Nvrtc, ThreadsCompileAtTheSameTime) {
  const auto alone = compiler_.compile(gpu_sample("sm_80"));
  ASSERT_TRUE(alone) << words_of(alone);
  std::vector<Result<Artifact>> made(8, Result<Artifact>(tl::unexpect, Error{}));
  on_threads(8, [&](int i) {
    CompileInput input = gpu_sample("sm_80");
    if (i % 2 == 1) input.source.text += "__global__ void bad() { undeclared = 1; }";
    made[static_cast<std::size_t>(i)] = compiler_.compile(input);
  });
  for (std::size_t i = 0; i < made.size(); ++i) {
    ASSERT_EQ(made[i].has_value(), i % 2 == 0) << words_of(made[i]);
    if (made[i]) {
      EXPECT_EQ(made[i]->encode(), alone->encode());
    } else {
      EXPECT_NE(made[i].error().log.find("undeclared"), std::string::npos);
    }
  }
}

TEST_F(Nvrtc, EmitsPtxOfTheSameCompile) {
  const auto ptx = compiler_.emit(gpu_sample("sm_80"), "ptx");
  ASSERT_TRUE(ptx) << words_of(ptx);
  EXPECT_NE(ptx->find(".target sm_80"), std::string::npos);
  EXPECT_NE(ptx->find(".entry _ZN4kiln7reverseILi2EEEvPf"), std::string::npos);
  EXPECT_EQ(ptx->find('\0'), std::string::npos);
  const auto other = compiler_.emit(gpu_sample("sm_80"), "asm");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::invalid_argument);
}

TEST_F(Nvrtc, ToolchainNamesLibrariesOptionsAndEnvironment) {
  CompilerSettings settings = settings_from_environment();
  const auto plain = Compilers(settings).chain(arch("sm_80")).front()->toolchain();
  settings.nvrtc_environment.add("NVRTC_APPEND_FLAGS", "-lineinfo");
  const auto changed = Compilers(settings).chain(arch("sm_80")).front()->toolchain();
  ASSERT_TRUE(plain && changed);
  const std::string text = plain->text();
  EXPECT_EQ(plain->find("backend"), "nvrtc");
  EXPECT_NE(text.find("libnvrtc.so."), std::string::npos) << text;
  EXPECT_NE(text.find("libnvrtc-builtins.so."), std::string::npos) << text;
  EXPECT_NE(text.find("--ptxas-options=-v"), std::string::npos) << text;
  const auto difference = differences(*plain, *changed);
  ASSERT_EQ(difference.size(), 1u);
  EXPECT_EQ(difference[0].name, "environment.NVRTC_APPEND_FLAGS");
}

TEST_F(Nvrtc, Description) {
  const auto description = compiler_.describe();
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_NE(description->version.find('.'), std::string::npos);
  EXPECT_GE(description->libraries.size(), 2u);
  EXPECT_FALSE(description->found_by.empty());
  EXPECT_FALSE(description->attempts.empty());
  EXPECT_NE(std::find(description->archs.begin(), description->archs.end(), "sm_80"),
            description->archs.end());
}

TEST_F(Nvrtc, ObjectsComeAndGo) {
  for (int i = 0; i < 3; ++i) {
    Compilers compilers(settings_from_environment());
    const auto artifact = compilers.chain(arch("sm_80")).front()->compile(gpu_sample("sm_80"));
    ASSERT_TRUE(artifact) << words_of(artifact);
  }
}

}  // namespace
}  // namespace kiln::test
