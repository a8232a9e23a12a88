// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/cases.h"

#include <fmt/format.h>

namespace kiln::gpu_check {

std::string Case::name() const {
  std::string text = op;
  for (const auto& [name, value] : arguments) text += fmt::format(" {}={}", name, value);
  return text;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"kda_decode", {{"batch", "1"}}},
      {"kda_decode", {{"batch", "64"}}},
      {"kda_decode", {{"batch", "256"}, {"H", "8"}, {"HV", "8"}}},
      {"kda_decode", {{"batch", "64"}, {"H", "12"}, {"HV", "12"}, {"state", "bf16"}}},
      {"kda_decode", {{"batch", "64"}, {"H", "8"}, {"HV", "16"}, {"layout", "KV"}}},
      {"kda_decode", {{"batch", "7"}, {"K", "64"}, {"V", "256"}, {"gate", "scalar"}}},
      {"kda_decode", {{"batch", "16"}, {"tokens", "4"}, {"ragged", "true"}}},
      {"kda_prefill", {}},
      {"attention_decode", {{"batch", "1"}}},
      {"attention_decode", {{"batch", "64"}}},
      {"attention_decode",
       {{"Hkv", "1"}, {"D_qk", "576"}, {"D_vo", "512"}, {"v_in_k", "true"}, {"batch", "16"}}},
      {"attention_prefill", {}},
      {"router_gemm", {}},
      {"qk_rmsnorm", {}},
  };
  return all;
}

CompileInput matrix_rate_input(const Arch& arch) {
  CompileInput input{"matrix_rate", "matrix_rate/mma_sync", {}, arch, {}, {}, {}, {}};
  input.source = {"matrix_rate.cu", R"(
namespace gpu_check {
struct Params { float* out; int loops; };
// Eight independent chains of m16n8k16, so that no multiplication waits for the one before.
__global__ void matrix_rate(const Params p) {
  float c[8][4] = {};
  unsigned a = threadIdx.x, b = threadIdx.x * 3;
  for (int i = 0; i < p.loops; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, "
          "{%5,%5}, {%0,%1,%2,%3};"
          : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3]) : "r"(a), "r"(b));
    }
  }
  float sum = 0;
  for (int j = 0; j < 8; ++j) sum += c[j][0] + c[j][1] + c[j][2] + c[j][3];
  p.out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
}  // namespace gpu_check
)"};
  input.name_expressions = {"gpu_check::matrix_rate"};
  input.options = {"-std=c++17"};
  return input;
}

Result<int> prewarm(Runtime& runtime, const Arch& arch) {
  int count = 1;
  KILN_TRY(runtime.prepare(matrix_rate_input(arch)));
  for (const Case& each : cases()) {
    KILN_TRY_ASSIGN(const Op* const op, find_op(each.op));
    KILN_TRY_ASSIGN(const OpArguments arguments, parse_arguments(*op, each.arguments));
    for (const Implementation& implementation : op->implementations) {
      if (!can_build(implementation, arguments.shape, arch)) continue;
      KILN_TRY_ASSIGN(const CompileInput input,
                      make_input(*op, implementation, arguments.shape, arch));
      KILN_TRY(runtime.prepare(input));
      ++count;
    }
  }
  return count;
}

}  // namespace kiln::gpu_check
