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
      {"kda_prefill",
       {{"batch", "1"}, {"tokens", "1000"}, {"H", "8"}, {"HV", "16"}, {"gate", "scalar"}}},
      {"kda_prefill", {{"batch", "1"}, {"tokens", "4096"}, {"H", "8"}, {"HV", "8"}}},
      {"kda_prefill", {{"batch", "8"}, {"tokens", "9"}, {"layout", "KV"}, {"state", "bf16"}}},
      {"attention_decode", {{"batch", "1"}}},
      {"attention_decode", {{"batch", "64"}}},
      {"attention_decode",
       {{"Hkv", "1"}, {"D_qk", "576"}, {"D_vo", "512"}, {"v_in_k", "true"}, {"batch", "16"}}},
      {"attention_decode", {{"batch", "4"}, {"Hkv", "32"}}},
      {"attention_decode",
       {{"batch", "5"},
        {"length", "700"},
        {"ragged", "true"},
        {"q_tokens", "3"},
        {"csr", "true"},
        {"hnd", "true"},
        {"window", "300"},
        {"sink", "true"},
        {"alibi", "true"},
        {"softcap", "true"},
        {"split_tokens", "128"}}},
      {"attention_decode",
       {{"batch", "5"}, {"length", "700"}, {"kv", "e4m3"}, {"scaled", "true"}, {"D_qk", "192"}}},
      {"attention_prefill", {}},
      {"attention_prefill", {{"q_len", "16384"}}},
      {"attention_prefill",
       {{"batch", "5"}, {"q_len", "300"}, {"ragged", "true"}, {"lse", "true"}}},
      {"attention_prefill", {{"paged", "true"}, {"io", "f16"}, {"window_left", "100"}}},
      {"attention_prefill", {{"D_qk", "192"}, {"causal", "false"}}},
      {"attention_prefill", {{"variant", "sigmoid"}, {"D_qk", "72"}, {"D_vo", "72"}}},
      {"attention_prefill",
       {{"batch", "3"}, {"q_len", "129"}, {"kv_len", "700"}, {"dense", "true"}, {"lse", "true"}}},
      {"attention_prefill", {{"D_qk", "64"}, {"D_vo", "64"}, {"sinks", "true"}, {"io", "f16"}}},
      {"attention_prefill", {{"D_qk", "256"}, {"D_vo", "256"}, {"batch", "2"}, {"q_len", "500"}}},
      {"router_gemm", {}},
      {"router_gemm", {{"K", "7168"}, {"M", "1"}}},
      {"router_gemm", {{"N", "128"}, {"K", "2048"}, {"gate", "softmax"}, {"M", "16"}}},
      {"router_gemm", {{"K", "2303"}, {"M", "7"}}},
      {"router_gemm",
       {{"K", "7168"},
        {"gate", "sigmoid"},
        {"correction", "f32"},
        {"n_group", "8"},
        {"topk_group", "4"},
        {"M", "4"}}},
      {"router_gemm", {{"N", "896"}, {"gate", "sigmoid"}, {"topk", "16"}, {"M", "300"}}},
      {"qk_rmsnorm", {}},
      {"qk_rmsnorm", {{"q_group", "128"}}},
      {"qk_rmsnorm",
       {{"Nq", "128"},
        {"Nk", "128"},
        {"Hq", "16"},
        {"Hk", "2"},
        {"rope", "neox"},
        {"rotary", "128"}}},
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
