// SPDX-License-Identifier: Apache-2.0
// LLVM as a compiler for AMD's chips: where hipRTC is missing or does not know the chip.
#include "jit/amd_metadata.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/jit/gpu_sample.h"

namespace kiln::test {
namespace {

class LlvmGpu : public CompilerTest {
 protected:
  LlvmGpu() : CompilerTest("gfx90a", "llvm") {}
};

Elf64_Ehdr header_of(const Artifact& artifact) {
  Elf64_Ehdr header{};
  EXPECT_GE(artifact.code.size(), sizeof header);
  std::memcpy(&header, artifact.code.data(), std::min(sizeof header, artifact.code.size()));
  return header;
}

class LlvmGpuArch : public LlvmGpu, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    LlvmGpu::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string_view name = GetParam();
    const Answer answer = compiler_.can_compile(arch(name));
    const bool is_newer_than_19 = name.starts_with("gfx950") || name.ends_with("-generic");
    if (!answer && is_newer_than_19 && compiler_.describe()->version.starts_with("19.")) {
      GTEST_SKIP() << answer.reason();
    }
    ASSERT_TRUE(answer) << answer.reason();
  }
};

TEST_P(LlvmGpuArch, CompilesToACodeObjectWithNamesAndResources) {
  const CompileInput input = gpu_sample(GetParam());
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  EXPECT_EQ(artifact->format, CodeFormat::hsaco);
  EXPECT_EQ(artifact->compiler, "llvm");
  const Elf64_Ehdr header = header_of(*artifact);
  EXPECT_EQ(header.e_machine, EM_AMDGPU);
  EXPECT_EQ(header.e_type, ET_DYN);
  ASSERT_EQ(artifact->entries.size(), 3u);
  EXPECT_EQ(artifact->entries[0].symbol, "_ZN4kiln7reverseILi2EEEvPf");
  EXPECT_EQ(artifact->entries[1].symbol, "plain");
  EXPECT_EQ(artifact->entries[2].symbol, "_ZN4kiln7reverseILi4EEEvPf");
  const KernelResources& two = artifact->entries[0].resources;
  EXPECT_GT(two.registers.value_or(0), 0);
  EXPECT_EQ(two.shared_bytes_static, 512);
  EXPECT_EQ(two.stack_bytes, 0);
  EXPECT_EQ(two.threads_per_block_max, 256);
  EXPECT_EQ(artifact->entries[1].resources.threads_per_block_max, 1024);
  EXPECT_EQ(artifact->entries[2].resources.shared_bytes_static, 1024);
}

// The notes say what the code was made for: the full target, and the width of its wavefronts.
TEST_P(LlvmGpuArch, TargetAndWavefrontSizeAreInTheNotes) {
  const CompileInput input = gpu_sample(GetParam());
  const auto artifact = compiler_.compile(input);
  ASSERT_TRUE(artifact) << words_of(artifact);
  const auto object = read_amd_metadata(artifact->code);
  ASSERT_TRUE(object) << words_of(object);
  EXPECT_EQ(object->target, "amdgcn-amd-amdhsa--" + input.arch.name());
  EXPECT_EQ(object->kernels.size(), 3u);
  for (const auto& [symbol, kernel] : object->kernels) {
    EXPECT_EQ(kernel.warp_size, input.arch.base().starts_with("gfx9") ? 64 : 32) << symbol;
  }
}

TEST_P(LlvmGpuArch, TheSameInputGivesTheSameCode) {
  const auto first = compiler_.compile(gpu_sample(GetParam()));
  const auto second = compiler_.compile(gpu_sample(GetParam()));
  ASSERT_TRUE(first && second) << words_of(first) << words_of(second);
  EXPECT_EQ(first->encode(), second->encode());
}

INSTANTIATE_TEST_SUITE_P(Chips, LlvmGpuArch,
                         testing::Values("gfx90a", "gfx90a:sramecc+:xnack-", "gfx942",
                                         "gfx942:sramecc+:xnack-", "gfx942:xnack+",
                                         "gfx942:sramecc-", "gfx950", "gfx950:sramecc+:xnack+",
                                         "gfx1030", "gfx1100", "gfx1201", "gfx9-4-generic"),
                         [](const auto& chip) { return test_name(chip.param); });

// Both compilers make what one launch fits: the notes of each say the same of a kernel, but for the
// registers that it takes.
TEST_F(Hiprtc, AndLlvmMakeTheSameLaunchMetadata) {
  Compiler& llvm = *compilers_.chain(arch("gfx90a")).back();
  if (const auto described = llvm.describe(); !described) {
    if (is_required("llvm")) FAIL() << described.error().message;
    GTEST_SKIP() << described.error().message;
  }
  CompileInput input = gpu_sample("gfx90a");
  input.source.text += R"(
struct Params { long long strides[5]; float* out; int count; };
__global__ void __launch_bounds__(128) wide(const Params params, char tail) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x] = params.strides[blockIdx.y] + gridDim.x * blockDim.x + tail;
  __syncthreads();
  params.out[blockIdx.x] = dynamic[params.count];
})";
  input.name_expressions.emplace_back("wide");
  const auto by_hiprtc = compiler_.compile(input);
  const auto by_llvm = llvm.compile(input);
  ASSERT_TRUE(by_hiprtc && by_llvm) << words_of(by_hiprtc) << words_of(by_llvm);
  EXPECT_EQ(by_hiprtc->format, by_llvm->format);
  // The ABI version (EI_ABIVERSION) is that of the code object.
  EXPECT_EQ(header_of(*by_hiprtc).e_ident[EI_OSABI], header_of(*by_llvm).e_ident[EI_OSABI]);
  EXPECT_EQ(header_of(*by_hiprtc).e_ident[EI_ABIVERSION],
            header_of(*by_llvm).e_ident[EI_ABIVERSION]);
  EXPECT_EQ(header_of(*by_hiprtc).e_flags, header_of(*by_llvm).e_flags);
  const auto theirs = read_amd_metadata(by_hiprtc->code);
  const auto ours = read_amd_metadata(by_llvm->code);
  ASSERT_TRUE(theirs && ours) << words_of(theirs) << words_of(ours);
  EXPECT_EQ(theirs->target, ours->target);
  for (const EntryPoint& entry : by_llvm->entries) {
    SCOPED_TRACE(entry.symbol);
    const AmdKernel& a = theirs->kernels.at(entry.symbol);
    const AmdKernel& b = ours->kernels.at(entry.symbol);
    EXPECT_EQ(a.warp_size, b.warp_size);
    EXPECT_EQ(a.argument_bytes, b.argument_bytes);
    EXPECT_EQ(a.resources.shared_bytes_static, b.resources.shared_bytes_static);
    EXPECT_EQ(a.resources.threads_per_block_max, b.resources.threads_per_block_max);
    EXPECT_EQ(a.resources.stack_bytes, b.resources.stack_bytes);
  }
}

TEST_F(LlvmGpu, AnUnknownChipOrFeatureIsNamed) {
  for (const char* name :
       {"gfx9999", "gfx1100:xnack+", "gfx908:sramecc-:xnack+", "gfx1030:sramecc+"}) {
    const bool known = std::string_view(name).starts_with("gfx908");
    const Answer answer = compiler_.can_compile(arch(name));
    EXPECT_EQ(static_cast<bool>(answer), known) << name;
    if (known) continue;
    EXPECT_NE(answer.reason().find(std::string("does not know ") + name), std::string::npos)
        << answer.reason();
    const auto artifact = compiler_.compile(gpu_sample(name));
    ASSERT_FALSE(artifact);
    EXPECT_EQ(artifact.error().code, ErrorCode::unavailable) << words_of(artifact);
  }
}

TEST_F(LlvmGpu, AFunctionOfTheDeviceLibrariesIsNamed) {
  CompileInput input = gpu_sample("gfx942");
  input.source.text += R"(
extern "C" __device__ float __ocml_tanh_f32(float);
__global__ void curve(float* x) { *x = __ocml_tanh_f32(*x); })";
  input.name_expressions = {"curve"};
  const auto artifact = compiler_.compile(input);
  ASSERT_FALSE(artifact);
  EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed);
  EXPECT_NE(artifact.error().message.find("'__ocml_tanh_f32'"), std::string::npos)
      << artifact.error().message;
}

TEST_F(LlvmGpu, ABadNameExpressionFails) {
  for (const char* expression :
       {"kiln::no_such", "kiln::reverse", "1 +", "", "variable", "function"}) {
    CompileInput input = gpu_sample("gfx942");
    input.source.text += "__device__ int variable; __device__ int function() { return variable; }";
    input.name_expressions = {expression};
    const auto artifact = compiler_.compile(input);
    ASSERT_FALSE(artifact) << expression;
    EXPECT_EQ(artifact.error().code, ErrorCode::compile_failed) << artifact.error().message;
  }
}

TEST_F(LlvmGpu, EmitsIrAndAssembly) {
  const auto assembly = compiler_.emit(gpu_sample("gfx942"), "asm");
  ASSERT_TRUE(assembly) << words_of(assembly);
  EXPECT_NE(assembly->find(".amdhsa_kernel plain"), std::string::npos);
  const auto ir = compiler_.emit(gpu_sample("gfx1100"), "llvm");
  ASSERT_TRUE(ir) << words_of(ir);
  EXPECT_NE(ir->find("amdgpu_kernel void @plain"), std::string::npos);
}

TEST_F(LlvmGpu, ThreadsGetTheCodeThatOneGets) {
  const char* const names[] = {"gfx942", "x86-64-v3", "gfx1100", "gfx90a"};
  std::vector<Result<Artifact>> alone;
  const auto sample = [&](int i) {
    CompileInput input = gpu_sample(names[i % 4]);
    if (i % 4 == 1) {
      input.source.text = "extern \"C\" void plain(int* value) { *value = 1; }";
      input.name_expressions = {"plain"};
    }
    return input;
  };
  for (int i = 0; i < 4; ++i) alone.push_back(compiler_.compile(sample(i)));
  std::vector<Result<Artifact>> made(8, Result<Artifact>(tl::unexpect, Error{}));
  on_threads(8, [&](int i) { made[static_cast<std::size_t>(i)] = compiler_.compile(sample(i)); });
  for (std::size_t i = 0; i < made.size(); ++i) {
    ASSERT_TRUE(made[i] && alone[i % 4]) << words_of(made[i]) << words_of(alone[i % 4]);
    EXPECT_EQ(made[i]->encode(), alone[i % 4]->encode());
  }
}

}  // namespace
}  // namespace kiln::test
