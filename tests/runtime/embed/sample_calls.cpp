// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/embed/sample_calls.h"

namespace kiln::test {

KdaDecodeArgs sample_kda_decode(SampleTensors& make, std::int64_t n) {
  KdaDecodeArgs args{};
  args.q = make.bf16({n, 8, 128});
  args.k = make.bf16({n, 8, 128});
  args.v = make.bf16({n, 8, 128});
  args.a = make.bf16({n, 8, 128});
  args.b = make.bf16({n, 8});
  args.A_log = make.f32({8});
  args.dt_bias = make.f32({8, 128});
  args.state = make.f32({64, 8, 128, 128});
  args.slots = make.i32({n});
  args.out = make.bf16({n, 8, 128});
  return args;
}

KdaPrefillArgs sample_kda_prefill(SampleTensors& make, std::int64_t total) {
  KdaPrefillArgs args{};
  args.q = make.bf16({total, 8, 128});
  args.k = make.bf16({total, 8, 128});
  args.v = make.bf16({total, 8, 128});
  args.a = make.bf16({total, 8, 128});
  args.b = make.bf16({total, 8});
  args.A_log = make.f32({8});
  args.dt_bias = make.f32({8, 128});
  args.state = make.f32({64, 8, 128, 128});
  args.slots = make.i32({2});
  args.cu_seqlens = make.i32({3});
  args.out = make.bf16({total, 8, 128});
  return args;
}

AttentionDecodeArgs sample_attention_decode(SampleTensors& make, std::int64_t n) {
  AttentionDecodeArgs args{};
  args.q = make.bf16({n, 32, 128});
  args.k_cache = make.bf16({256, 16, 8, 128});
  args.v_cache = make.bf16({256, 16, 8, 128});
  args.block_table = make.i32({n, 32});
  args.seq_lens = make.i32({n});
  args.out = make.bf16({n, 32, 128});
  args.workspace = make.f32({1 << 22});
  return args;
}

AttentionPrefillArgs sample_attention_prefill(SampleTensors& make, std::int64_t total) {
  AttentionPrefillArgs args{};
  args.q = make.bf16({total, 32, 128});
  args.k = make.bf16({total, 8, 128});
  args.v = make.bf16({total, 8, 128});
  args.cu_seqlens_q = make.i32({3});
  args.cu_seqlens_kv = make.i32({3});
  args.out = make.bf16({total, 32, 128});
  return args;
}

QkRmsnormArgs sample_qk_rmsnorm(SampleTensors& make, std::int64_t rows) {
  QkRmsnormArgs args{};
  args.q = make.bf16({rows, 32, 128});
  args.k = make.bf16({rows, 8, 128});
  args.q_weight = make.bf16({128});
  args.k_weight = make.bf16({128});
  args.q_out = make.bf16({rows, 32, 128});
  args.k_out = make.bf16({rows, 8, 128});
  return args;
}

RouterGemmArgs sample_router_gemm(SampleTensors& make, std::int64_t tokens) {
  RouterGemmArgs args{};
  args.a = make.bf16({tokens, 2304});
  args.w = make.bf16({256, 2304});
  args.out = make.f32({tokens, 256});
  return args;
}

namespace {

template <class Args>
SampleCall sample(const char* op, SampleTensors& make,
                  Args (*args_of)(SampleTensors&, std::int64_t),
                  Result<void> (*call)(Runtime&, const Args&, const CallOptions&)) {
  return {op,
          [args = args_of(make, 4), call](Runtime& runtime, const CallOptions& options) {
            return call(runtime, args, options);
          },
          [args = args_of(make, 3), call](Runtime& runtime, const CallOptions& options) {
            return call(runtime, args, options);
          }};
}

}  // namespace

std::vector<SampleCall> sample_calls(SampleTensors& make) {
  return {sample("kda_decode", make, sample_kda_decode, kda_decode),
          sample("kda_prefill", make, sample_kda_prefill, kda_prefill),
          sample("attention_decode", make, sample_attention_decode, attention_decode),
          sample("attention_prefill", make, sample_attention_prefill, attention_prefill),
          sample("qk_rmsnorm", make, sample_qk_rmsnorm, qk_rmsnorm),
          sample("router_gemm", make, sample_router_gemm, router_gemm)};
}

}  // namespace kiln::test
