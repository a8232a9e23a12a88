// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/jit/gpu_sample.h"

namespace kiln::test {
namespace {

class HiprtcArch : public Hiprtc, public testing::WithParamInterface<const char*> {};

TEST_P(HiprtcArch, CompilesToACodeObjectWithNamesAndResources) {
  const CompileInput input = gpu_sample(GetParam());
  ASSERT_TRUE(compiler_.can_compile(input.arch)) << compiler_.can_compile(input.arch).reason();
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->format, CodeFormat::hsaco);
  ASSERT_GT(artifact->code.size(), 4u);
  EXPECT_EQ(as_text(artifact->code).substr(1, 3), "ELF");
  EXPECT_EQ(artifact->compiler, "hiprtc");
  EXPECT_GT(artifact->compile_time_ms, 0);

  ASSERT_EQ(artifact->entries.size(), 3u);
  EXPECT_EQ(artifact->entries[0].name_expression, "kiln::reverse<2>");
  EXPECT_EQ(artifact->entries[0].symbol, "_ZN4kiln7reverseILi2EEEvPf");
  EXPECT_EQ(artifact->entries[1].symbol, "plain");
  EXPECT_EQ(artifact->entries[2].symbol, "_ZN4kiln7reverseILi4EEEvPf");
  const KernelResources& two = artifact->entries[0].resources;
  EXPECT_GT(two.registers.value_or(0), 0);
  EXPECT_EQ(two.shared_bytes_static, 512);
  EXPECT_EQ(two.spill_store_bytes, 0);
  EXPECT_EQ(two.stack_bytes, 0);
  EXPECT_EQ(two.threads_per_block_max, 256);
  EXPECT_EQ(artifact->entries[1].resources.shared_bytes_static, 0);
  EXPECT_EQ(artifact->entries[1].resources.threads_per_block_max, 1024);
  EXPECT_EQ(artifact->entries[2].resources.shared_bytes_static, 1024);
}

// What the dialect layer relies on: wavefronts of 64 on gfx9, of 32 from gfx10 on.
TEST_P(HiprtcArch, WavefrontSize) {
  CompileInput input = gpu_sample(GetParam());
  const int expected = input.arch.base().starts_with("gfx9") ? 64 : 32;
  input.source.text += "static_assert(__AMDGCN_WAVEFRONT_SIZE == EXPECTED, \"\");";
  input.options.push_back("-DEXPECTED=" + std::to_string(expected));
  const auto right = compiler_.compile(input);
  EXPECT_TRUE(right) << words_of(right);
  input.options.back() = "-DEXPECTED=" + std::to_string(96 - expected);
  EXPECT_FALSE(compiler_.compile(input));
}

INSTANTIATE_TEST_SUITE_P(Chips, HiprtcArch,
                         testing::Values("gfx90a", "gfx908", "gfx1030", "gfx90a:sramecc+:xnack-"),
                         [](const auto& chip) { return test_name(chip.param); });

TEST_F(Hiprtc, OptionsAndHeadersReachTheCode) {
  const auto base = compiler_.compile(gpu_sample("gfx90a"));
  CompileInput other = gpu_sample("gfx90a");
  other.options[0] = "-DSCALE=5.0f";
  const auto scaled = compiler_.compile(other);
  other = gpu_sample("gfx90a");
  other.headers[0].text = "constexpr int kTile = 32;";
  const auto smaller = compiler_.compile(other);
  ASSERT_TRUE(base && scaled && smaller);
  EXPECT_NE(base->code, scaled->code);
  EXPECT_NE(base->code, smaller->code);
}

// hipRTC works in a folder with a random name, which must not get into the code: not by __FILE__,
// and not by the suffix that static variables get.
TEST_F(Hiprtc, NoNameOfATemporaryFolderIsInTheCode) {
  CompileInput input = gpu_sample("gfx90a");
  input.headers[0].text += "\n__device__ const char* header_name() { return __FILE__; }";
  input.source.text += R"(
static __device__ int hidden;
__global__ void names(const char** out) {
  out[0] = __FILE__;
  out[1] = header_name();
  out[2] = reinterpret_cast<const char*>(&hidden);
  ++hidden;
})";
  input.name_expressions = {"names"};
  const auto first = compiler_.compile(input);
  const auto second = compiler_.compile(input);
  ASSERT_TRUE(first && second) << words_of(first) << words_of(second);
  EXPECT_EQ(first->encode(), second->encode());
  const std::string_view code = as_text(first->code);
  EXPECT_NE(code.find("reverse/simple.cu"), std::string_view::npos);
  EXPECT_NE(code.find("kiln/tile.h"), std::string_view::npos);
  EXPECT_EQ(code.find("comgr-"), std::string_view::npos);
}

TEST_F(Hiprtc, SpillsAreReported) {
  CompileInput input = gpu_sample("gfx90a");
  input.source.text = R"(
__attribute__((amdgpu_num_vgpr(24))) __global__ void spill(float* p, int n) {
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
  EXPECT_GT(resources.spill_store_bytes.value_or(0), 0);
  EXPECT_GT(resources.stack_bytes.value_or(0), 0);
}

TEST_F(Hiprtc, ThreadsGetTheCodeThatOneGets) {
  const auto alone = compiler_.compile(gpu_sample("gfx90a"));
  ASSERT_TRUE(alone) << words_of(alone);
  constexpr int kThreads = 8;
  constexpr int kRounds = 3;
  std::vector<Result<Artifact>> made(kThreads * kRounds, Result<Artifact>(tl::unexpect, Error{}));
  const auto is_good = [](int i) { return i % 3 != 1; };
  on_threads(kThreads, [&](int thread) {
    // Compilers of their own share hipRTC all the same.
    Compilers own(settings_from_environment());
    Compiler& compiler = thread % 2 == 0 ? compiler_ : *own.chain(arch("gfx90a")).front();
    for (int round = 0; round < kRounds; ++round) {
      const int i = thread * kRounds + round;
      CompileInput input = gpu_sample("gfx90a");
      if (!is_good(i)) input.source.text += "__global__ void bad() { undeclared = 1; }";
      (void)compiler.can_compile(arch("gfx90a:xnack-"));
      made[static_cast<std::size_t>(i)] = compiler.compile(input);
    }
  });
  for (int i = 0; i < kThreads * kRounds; ++i) {
    const Result<Artifact>& result = made[static_cast<std::size_t>(i)];
    ASSERT_EQ(result.has_value(), is_good(i)) << words_of(result);
    if (result) {
      EXPECT_EQ(result->encode(), alone->encode());
    } else {
      EXPECT_NE(result.error().log.find("undeclared"), std::string::npos);
    }
  }
}

TEST_F(Hiprtc, EmitsNoText) {
  for (const char* kind : {"ptx", "llvm", "asm", ""}) {
    const auto text = compiler_.emit(gpu_sample("gfx90a"), kind);
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(text.error().message.find("disassemble"), std::string::npos) << text.error().message;
  }
}

TEST_F(Hiprtc, ToolchainNamesLibrariesOptionsAndEnvironment) {
  CompilerSettings settings = settings_from_environment();
  const auto plain = Compilers(settings).chain(arch("gfx90a")).front()->toolchain();
  settings.hiprtc_environment.add("HIPRTC_COMPILE_OPTIONS_APPEND", "-g");
  const auto changed = Compilers(settings).chain(arch("gfx90a")).front()->toolchain();
  ASSERT_TRUE(plain && changed);
  const std::string text = plain->text();
  EXPECT_EQ(plain->find("backend"), "hiprtc");
  EXPECT_NE(text.find("libamd_comgr.so."), std::string::npos) << text;
  EXPECT_NE(text.find("-fuse-cuid=none"), std::string::npos) << text;
  const auto difference = differences(*plain, *changed);
  ASSERT_EQ(difference.size(), 1u);
  EXPECT_EQ(difference[0].name, "environment.HIPRTC_COMPILE_OPTIONS_APPEND");
}

TEST_F(Hiprtc, Description) {
  const auto description = compiler_.describe();
  ASSERT_TRUE(description) << words_of(description);
  EXPECT_NE(description->version.find("comgr"), std::string::npos);
  EXPECT_GE(description->libraries.size(), 2u);
  EXPECT_FALSE(description->found_by.empty());
  EXPECT_FALSE(description->attempts.empty());
  EXPECT_NE(std::find(description->archs.begin(), description->archs.end(), "gfx90a"),
            description->archs.end());
}

}  // namespace
}  // namespace kiln::test
