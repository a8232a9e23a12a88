// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "templates/registry.h"

namespace kiln {
namespace {

const Op& kda() {
  return **find_op("kda_decode");
}

CompileInput input_for(std::size_t implementation, const char* arch,
                       std::vector<NameValue> given = {}) {
  const Shape shape = parse_arguments(kda(), given)->shape;
  return *make_input(kda(), kda().implementations[implementation], shape, *Arch::parse(arch));
}

std::vector<std::string> header_names(const CompileInput& input) {
  std::vector<std::string> names;
  for (const SourceText& header : input.headers) names.push_back(header.name);
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

TEST(MakeInput, TheShapeIsAHeaderOfConstants) {
  const CompileInput input = input_for(0, "sm_90a", {{"H", "8"}, {"qk_l2norm", "false"}});
  ASSERT_FALSE(input.headers.empty());
  EXPECT_EQ(input.headers.front().name, "kiln/shape.h");
  EXPECT_EQ(input.headers.front().text,
            "#pragma once\n"
            "namespace kiln::shape {\n"
            "inline constexpr int H = 8;\n"
            "inline constexpr int HV = 32;\n"
            "inline constexpr int K = 128;\n"
            "inline constexpr int V = 128;\n"
            "#define KILN_SHAPE_gate_softplus 1\n"
            "namespace gate_is {\n"
            "inline constexpr bool softplus = true;\n"
            "inline constexpr bool lower_bound = false;\n"
            "inline constexpr bool precomputed = false;\n"
            "inline constexpr bool scalar = false;\n"
            "}\n"
            "#define KILN_SHAPE_beta_logit 1\n"
            "namespace beta_is {\n"
            "inline constexpr bool logit = true;\n"
            "inline constexpr bool doubled = false;\n"
            "inline constexpr bool given = false;\n"
            "}\n"
            "#define KILN_SHAPE_io_bf16 1\n"
            "namespace io_is {\n"
            "inline constexpr bool bf16 = true;\n"
            "inline constexpr bool f16 = false;\n"
            "inline constexpr bool f32 = false;\n"
            "}\n"
            "#define KILN_SHAPE_gate_io_bf16 1\n"
            "namespace gate_io_is {\n"
            "inline constexpr bool bf16 = true;\n"
            "inline constexpr bool f16 = false;\n"
            "inline constexpr bool f32 = false;\n"
            "}\n"
            "#define KILN_SHAPE_state_f32 1\n"
            "namespace state_is {\n"
            "inline constexpr bool f32 = true;\n"
            "inline constexpr bool bf16 = false;\n"
            "}\n"
            "#define KILN_SHAPE_layout_VK 1\n"
            "namespace layout_is {\n"
            "inline constexpr bool VK = true;\n"
            "inline constexpr bool KV = false;\n"
            "}\n"
            "inline constexpr bool qk_l2norm = false;\n"
            "}\n");
}

TEST(MakeInput, IntegersThatNeed64BitsGetThem) {
  Op op = kda();
  op.shape_params = {ParamSpec{"wide", "", ShapeValue(std::int64_t{0}), 0, INT64_MAX, {}}};
  Shape shape;
  shape.set("wide", std::int64_t{1} << 40);
  const auto input = make_input(op, op.implementations[0], shape, *Arch::parse("sm_90a"));
  ASSERT_TRUE(input);
  EXPECT_NE(input->headers[0].text.find("constexpr long long wide = 1099511627776LL;"),
            std::string::npos);
}

TEST(MakeInput, KernelsReachWhatTheyUseAndNothingElse) {
  EXPECT_EQ(header_names(input_for(1, "sm_90a")), (Names{"kda/block_decay.h",
                                                         "kda/gate.h",
                                                         "kda/lanes.h",
                                                         "kda/params.h",
                                                         "kda/tile.h",
                                                         "kda_decode/params.h",
                                                         "kda_decode/single_token.h",
                                                         "kiln/barrier.h",
                                                         "kiln/base.h",
                                                         "kiln/convert.h",
                                                         "kiln/cpu_lanes.h",
                                                         "kiln/dependent_launch.h",
                                                         "kiln/dialect.h",
                                                         "kiln/dialect/cuda.h",
                                                         "kiln/dialect/hip.h",
                                                         "kiln/dialect/simt.h",
                                                         "kiln/dialect/simt_checked.h",
                                                         "kiln/float_bits.h",
                                                         "kiln/global.h",
                                                         "kiln/kernel.h",
                                                         "kiln/lanes.h",
                                                         "kiln/math.h",
                                                         "kiln/shape.h",
                                                         "kiln/shared.h",
                                                         "kiln/storage_type.h",
                                                         "kiln/thread.h",
                                                         "kiln/warp.h",
                                                         "varlen/sequences.h"}));
  EXPECT_EQ(
      header_names(input_for(3, "x86-64-v3")),
      (Names{"kda/cpu_rows.h", "kda/gate.h", "kda/params.h", "kda_decode/cpu_slices.h",
             "kda_decode/params.h", "kiln/base.h", "kiln/convert.h", "kiln/cpu.h", "kiln/cpu_abi.h",
             "kiln/cpu_lanes.h", "kiln/cpu_vector.h", "kiln/float_bits.h", "kiln/lanes.h",
             "kiln/math.h", "kiln/shape.h", "kiln/storage_type.h", "varlen/sequences.h"}));
}

// So a change of one dialect leaves the keys of the others alone.
TEST(MakeInput, OtherDialectsStandThereByTheirNamesAlone) {
  const std::pair<const char*, Names> cases[] = {
      {"sm_90a", {"kiln/dialect/cuda.h"}},
      {"gfx942", {"kiln/dialect/hip.h"}},
      {"simt", {"kiln/dialect/simt.h", "kiln/dialect/simt_checked.h"}}};
  for (const auto& [name, own] : cases) {
    Names full;
    for (const SourceText& header : input_for(0, name).headers) {
      if (!header.name.starts_with("kiln/dialect/")) continue;
      if (!header.text.starts_with("#error")) full.push_back(header.name);
    }
    std::sort(full.begin(), full.end());
    EXPECT_EQ(full, own) << name;
  }
}

TEST(MakeInput, OptionsNameTheDialectAndTheArch) {
  EXPECT_EQ(input_for(0, "sm_90a").options,
            (Names{"-std=c++17", "-DKILN_DIALECT_CUDA=1", "-DKILN_SM=900", "-DKILN_WARP_SIZE=32"}));
  EXPECT_EQ(input_for(0, "gfx942:xnack-").options,
            (Names{"-std=c++17", "-DKILN_DIALECT_HIP=1", "-DKILN_WARP_SIZE=64"}));
  EXPECT_EQ(input_for(0, "gfx1100").options,
            (Names{"-std=c++17", "-DKILN_DIALECT_HIP=1", "-DKILN_WARP_SIZE=32"}));
  EXPECT_EQ(input_for(0, "simt:warp64").options,
            (Names{"-std=c++17", "-DKILN_DIALECT_SIMT=1", "-DKILN_CHECKED=0", "-DKILN_DEBUG=0",
                   "-DKILN_WARP_SIZE=64"}));
  EXPECT_EQ(input_for(0, "simt:checked:debug").options,
            (Names{"-std=c++17", "-DKILN_DIALECT_SIMT=1", "-DKILN_CHECKED=1", "-DKILN_DEBUG=1",
                   "-DKILN_WARP_SIZE=32"}));
  EXPECT_EQ(input_for(3, "x86-64-v3").options, (Names{"-std=c++17", "-DKILN_DIALECT_CPU=1"}));
}

TEST(MakeInput, PassesTheChecksOfCompileInput) {
  for (const auto& input : {input_for(0, "sm_80"), input_for(3, "x86-64-v2")}) {
    EXPECT_TRUE(input.check());
    EXPECT_EQ(input.name_expressions.size(), 1U);
  }
}

TEST(MakeInput, ASourceThatIsNotEmbeddedIsABug) {
  Implementation lost = kda().implementations[0];
  lost.source = "kda_decode/lost.cu";
  const Shape shape = parse_arguments(kda(), {})->shape;
  const auto input = make_input(kda(), lost, shape, *Arch::parse("sm_90a"));
  ASSERT_FALSE(input);
  EXPECT_EQ(input.error().code, ErrorCode::internal);
  EXPECT_EQ(input.error().message,
            "kda_decode/large_batch: its source 'kda_decode/lost.cu' is not among the embedded "
            "files");
}

}  // namespace
}  // namespace kiln
