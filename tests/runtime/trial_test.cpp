// SPDX-License-Identifier: Apache-2.0
// Every op on this host against its fp64 reference, through the public API; and that a trial fails
// when the numbers are wrong.
#include "runtime/reference/trial.h"

#include <gtest/gtest.h>

#include "runtime/reference/comparison.h"
#include "tests/runtime/user_template.h"

namespace kiln {
namespace {

struct TrialCase {
  std::string name;
  const char* op;  // with its arguments, as a user of jitctl types them
  const char* arch = "cpu";
};

// What CTest lists instead of the bytes.
void PrintTo(const TrialCase& one, std::ostream* out) {
  *out << one.name;
}

class TrialTest : public test::LlvmTest, public testing::WithParamInterface<TrialCase> {
 protected:
  static std::unique_ptr<Trial> make(const TrialCase& one, std::uint64_t seed) {
    std::istringstream words(one.op);
    std::string word;
    words >> word;
    const Op& op = **find_op(word);
    std::vector<NameValue> given;
    while (words >> word) {
      const auto equals = word.find('=');
      given.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    auto arguments = parse_arguments(op, given);
    EXPECT_TRUE(arguments) << arguments.error().message;
    auto trial = make_trial(llvm().runtime(), op, *arguments, *Arch::parse(one.arch), seed);
    EXPECT_TRUE(trial) << trial.error().message;
    return trial ? std::move(*trial) : nullptr;
  }
};

TEST_P(TrialTest, IsWithinItsBounds) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const auto trial = make(GetParam(), seed);
    ASSERT_TRUE(trial);
    ASSERT_TRUE(trial->reset());
    const auto launched = trial->launch();
    ASSERT_TRUE(launched) << launched.error().message << launched.error().log;
    const auto errors = trial->compare();
    ASSERT_TRUE(errors) << errors.error().message;
    for (const OutputError& error : *errors) {
      EXPECT_TRUE(error.passed()) << error.name << " is off by " << error.abs_max << ", "
                                  << error.bound_ratio << " of " << error.allowed;
    }
  }
}

const std::vector<TrialCase> kTrials = {
    {"kda_one", "kda_decode H=1 HV=1 batch=1"},
    {"kda_odd_batch", "kda_decode H=3 HV=3 batch=17"},
    {"kda_grouped", "kda_decode H=2 HV=8 batch=5"},
    {"kda_large_pool", "kda_decode H=2 HV=2 batch=3 pool=11"},
    {"kda_inactive", "kda_decode H=2 HV=2 batch=9 pool=4"},
    {"kda_empty", "kda_decode batch=0"},
    {"kda_no_norm", "kda_decode H=2 HV=2 batch=3 qk_l2norm=false"},
    {"kda_verify", "kda_decode H=2 HV=4 batch=3 tokens=4 pool=2"},
    {"kda_varlen", "kda_decode H=1 HV=2 batch=6 tokens=5 ragged=true"},
    {"kda_gdn_kv", "kda_decode H=2 HV=4 batch=3 gate=scalar layout=KV"},
    {"kda_bf16_state", "kda_decode H=2 HV=2 batch=5 state=bf16"},
    {"kda_kv_v2", "kda_decode H=2 HV=4 batch=3 layout=KV state=bf16", "x86-64-v2"},
    {"kda_kv_v3", "kda_decode H=2 HV=4 batch=3 layout=KV state=bf16", "x86-64-v3"},
    {"kda_v2", "kda_decode H=2 HV=4 batch=3", "x86-64-v2"},
    {"kda_v3", "kda_decode H=2 HV=4 batch=3", "x86-64-v3"},
    {"norm_one", "qk_rmsnorm M=1"},
    {"norm_rows", "qk_rmsnorm M=37"},
    {"norm_in_place", "qk_rmsnorm M=19 in_place=true"},
    {"norm_heads", "qk_rmsnorm Nq=128 Nk=128 Hq=16 Hk=2 M=9 in_place=true"},
    {"norm_one_plus_weight", "qk_rmsnorm Nq=256 Nk=64 weight_bias=true M=5"},
    {"norm_odd", "qk_rmsnorm Nq=1535 Nk=7 Hk=3 M=11 weights=f32"},
    {"norm_longest", "qk_rmsnorm Nq=8192 Nk=8191 M=4"},
    {"norm_shortest", "qk_rmsnorm Nq=1 Nk=1 M=300"},
    {"norm_f16", "qk_rmsnorm io=f16 weights=f16 M=8"},
    {"norm_rope", "qk_rmsnorm Nq=128 Nk=128 Hq=4 Hk=2 M=17 rope=neox rotary=128 in_place=true",
     "cpu"},
    {"norm_rope_e4m3",
     "qk_rmsnorm Nq=256 Nk=64 Hq=2 M=17 rope=interleaved rope_table=bf16 rotary=48 "
     "wide_positions=true q_group=256",
     "cpu"},
    {"norm_odd_e4m3", "qk_rmsnorm Nq=77 Nk=37 M=15 rope=neox rotary=34 q_group=77", "cpu"},
    {"norm_groups_e4m3", "qk_rmsnorm q_group=128 M=5", "cpu"},
    {"norm_streams", "qk_rmsnorm Nk=511 M=4200", "cpu"},
    {"norm_simt_rope", "qk_rmsnorm Nq=128 Nk=128 Hq=4 Hk=2 M=17 rope=neox rotary=128",
     "simt:checked"},
    {"norm_simt_rope_e4m3",
     "qk_rmsnorm Nq=256 Nk=64 Hq=2 M=17 rope=interleaved rope_table=bf16 rotary=48 "
     "wide_positions=true q_group=256",
     "simt:checked"},
    {"norm_simt_odd_e4m3", "qk_rmsnorm Nq=77 Nk=37 M=15 rope=neox rotary=34 q_group=77",
     "simt:checked"},
    {"norm_simt_groups_e4m3", "qk_rmsnorm q_group=128 M=5", "simt:checked"},
    {"norm_simt_rows_e4m3", "qk_rmsnorm q_group=1536 M=5", "simt:checked"},
    {"norm_warp64_rope", "qk_rmsnorm Nq=128 Nk=128 Hq=4 Hk=2 M=17 rope=neox rotary=128",
     "simt:warp64:checked"},
    {"norm_warp64_rope_e4m3",
     "qk_rmsnorm Nq=256 Nk=64 Hq=2 M=17 rope=interleaved rope_table=bf16 rotary=48 "
     "wide_positions=true q_group=256",
     "simt:warp64:checked"},
    {"norm_warp64_odd_e4m3", "qk_rmsnorm Nq=77 Nk=37 M=15 rope=neox rotary=34 q_group=77",
     "simt:warp64:checked"},
    {"norm_warp64_groups_e4m3", "qk_rmsnorm q_group=128 M=5", "simt:warp64:checked"},
    {"norm_warp64_rows_e4m3", "qk_rmsnorm q_group=1536 M=5", "simt:warp64:checked"},
    {"norm_empty", "qk_rmsnorm M=0"},
    {"norm_no_heads", "qk_rmsnorm Hq=0 M=3"},
    {"norm_v2", "qk_rmsnorm Nk=513 M=3", "x86-64-v2"},
    {"norm_v3", "qk_rmsnorm Nk=513 M=3", "x86-64-v3"},
    {"router_one", "router_gemm M=1"},
    {"router_tokens", "router_gemm M=67"},
    {"router_deepseek", "router_gemm K=7168 M=3"},
    {"router_odd", "router_gemm N=255 K=2303 M=13"},
    {"router_tiny", "router_gemm N=1 K=1 M=33"},
    {"router_empty", "router_gemm M=0"},
    {"router_bf16_bias", "router_gemm out=bf16 bias=bf16 M=5"},
    {"router_f16", "router_gemm io=f16 out=f16 bias=f32 M=5"},
    {"router_deepseek_gate",
     "router_gemm K=96 gate=sigmoid correction=f32 n_group=8 topk_group=4 M=67"},
    {"router_kimi_k2_gate", "router_gemm N=384 K=96 gate=sigmoid correction=bf16 M=4"},
    {"router_qwen3_gate", "router_gemm N=128 K=96 gate=softmax shared_experts=1 M=9"},
    {"router_896_gate", "router_gemm N=896 K=96 gate=sigmoid topk=16 M=5"},
    {"router_odd_gate",
     "router_gemm N=35 K=17 out=bf16 gate=softmax correction=f16 n_group=7 topk_group=3 "
     "renormalize=false M=5"},
    {"router_gate_v2", "router_gemm N=37 gate=softmax M=3", "x86-64-v2"},
    {"router_simt_few_gate",
     "router_gemm N=64 K=72 gate=sigmoid correction=f32 n_group=8 topk_group=4 M=3",
     "simt:checked"},
    {"router_simt_matrix_few_gate", "router_gemm N=40 K=1064 gate=softmax shared_experts=2 M=11",
     "simt:checked"},
    {"router_simt_matrix_some_gate", "router_gemm N=24 K=1032 gate=sigmoid topk=16 M=70", "simt"},
    {"router_simt_matrix_many", "router_gemm N=72 K=40 out=bf16 bias=f32 M=260", "simt"},
    {"router_simt_odd_gate", "router_gemm N=37 K=35 gate=softmax renormalize=false M=9", "simt"},
    {"router_warp64_few_gate",
     "router_gemm N=64 K=72 gate=sigmoid correction=f32 n_group=8 topk_group=4 M=3",
     "simt:warp64:checked"},
    {"router_warp64_matrix_few_gate", "router_gemm N=40 K=1064 gate=softmax shared_experts=2 M=11",
     "simt:warp64:checked"},
    {"router_warp64_matrix_some_gate", "router_gemm N=24 K=1032 gate=sigmoid topk=16 M=70",
     "simt:warp64"},
    {"router_warp64_matrix_many", "router_gemm N=72 K=40 out=bf16 bias=f32 M=260", "simt:warp64"},
    {"router_v2", "router_gemm N=9 K=100 M=7", "x86-64-v2"},
    {"router_v3", "router_gemm N=9 K=100 M=7", "x86-64-v3"},
    {"decode_llama", "attention_decode batch=3 length=150"},
    {"decode_ragged", "attention_decode Hq=4 Hkv=1 batch=17 length=90 page_size=7 ragged=true"},
    {"decode_mha", "attention_decode Hq=3 Hkv=3 D_qk=64 D_vo=64 batch=2 length=65"},
    {"decode_group_of_8", "attention_decode Hq=16 Hkv=2 batch=2 length=33 page_size=1"},
    {"decode_odd_group", "attention_decode Hq=35 Hkv=1 batch=2 length=70 splits=2"},
    {"decode_unequal_heads", "attention_decode Hq=2 Hkv=2 D_qk=192 batch=2 length=50"},
    {"decode_long", "attention_decode Hq=2 Hkv=1 D_qk=64 D_vo=64 batch=1 length=70001"},
    {"decode_mla",
     "attention_decode Hq=16 Hkv=1 D_qk=576 D_vo=512 v_in_k=true batch=3 length=130 page_size=64 "
     "ragged=true"},
    {"decode_everything",
     "attention_decode Hq=6 Hkv=2 D_qk=96 D_vo=96 kv=e4m3 softcap=true batch=5 length=150 "
     "q_tokens=3 page_size=5 ragged=true csr=true hnd=true scaled=true sink=true alibi=true "
     "window=70 split_tokens=64"},
    {"decode_e5m2", "attention_decode Hq=2 Hkv=1 D_qk=80 io=f16 kv=e5m2 batch=2"},
    {"decode_f32_f16",
     "attention_decode Hq=3 Hkv=1 D_qk=256 D_vo=256 io=f32 kv=f16 batch=2 length=99"},
    {"decode_no_tokens", "attention_decode batch=2 length=0"},
    {"decode_empty", "attention_decode batch=0"},
    {"decode_v2", "attention_decode Hq=10 Hkv=2 batch=2 length=70 splits=2", "x86-64-v2"},
    {"decode_v3", "attention_decode Hq=10 Hkv=2 batch=2 length=70 splits=2", "x86-64-v3"},
    {"prefill_one", "attention_prefill Hq=1 Hkv=1 q_len=1 lse=true"},
    {"prefill_ragged", "attention_prefill Hq=8 Hkv=2 batch=9 q_len=77 ragged=true"},
    {"prefill_append", "attention_prefill Hq=6 Hkv=2 q_len=5 kv_len=203 lse=true"},
    {"prefill_more_queries", "attention_prefill Hq=2 Hkv=1 q_len=239 kv_len=1 lse=true"},
    {"prefill_cross", "attention_prefill Hq=2 causal=false Hkv=2 q_len=113 kv_len=203"},
    {"prefill_mla", "attention_prefill Hq=2 Hkv=2 D_qk=192 q_len=70"},
    {"prefill_odd_heads", "attention_prefill Hq=3 Hkv=1 D_qk=72 D_vo=40 q_len=65"},
    {"prefill_largest_heads", "attention_prefill Hq=2 Hkv=1 D_qk=256 D_vo=256 q_len=130"},
    {"prefill_empty", "attention_prefill batch=0"},
    {"prefill_no_keys", "attention_prefill q_len=3 kv_len=0 lse=true"},
    {"prefill_v2", "attention_prefill Hq=4 Hkv=2 batch=5 q_len=90 ragged=true", "x86-64-v2"},
    {"prefill_v3", "attention_prefill Hq=4 Hkv=2 batch=5 q_len=90 ragged=true", "x86-64-v3"},
    {"kda_prefill_one", "kda_prefill H=1 HV=1 batch=1 tokens=1"},
    {"kda_prefill_ragged", "kda_prefill H=1 HV=2 batch=7 tokens=33 ragged=true"},
    {"kda_prefill_inactive", "kda_prefill H=2 HV=2 batch=5 tokens=9 pool=3"},
    {"kda_prefill_from_zero", "kda_prefill H=1 HV=1 batch=3 tokens=65 zero_initial_state=true"},
    {"kda_prefill_no_norm", "kda_prefill H=1 HV=1 tokens=2 qk_l2norm=false"},
    {"kda_prefill_all_else",
     "kda_prefill H=1 HV=2 K=64 V=128 gate=scalar beta=doubled io=f16 gate_io=f32 state=bf16 "
     "layout=KV batch=3 tokens=21 ragged=true"},
    {"kda_prefill_empty", "kda_prefill batch=0"},
    // The sizes that flash-linear-attention tests its chunk_kda with, and a long prompt.
    {"kda_prefill_grid_63", "kda_prefill H=1 HV=1 K=64 V=64 batch=1 tokens=63"},
    {"kda_prefill_grid_1000", "kda_prefill H=3 HV=3 K=64 V=64 batch=2 tokens=1000"},
    {"kda_prefill_grid_1024", "kda_prefill H=4 HV=4 batch=4 tokens=1024"},
    {"kda_prefill_grid_1500", "kda_prefill H=4 HV=4 batch=2 tokens=1500"},
    {"kda_prefill_grid_2048", "kda_prefill H=8 HV=8 K=64 V=64 batch=4 tokens=2048"},
    {"kda_prefill_100000_tokens", "kda_prefill H=1 HV=1 K=64 V=64 batch=1 tokens=100000"},
    {"kda_prefill_v2", "kda_prefill H=1 HV=2 tokens=17", "x86-64-v2"},
    {"kda_prefill_v3", "kda_prefill H=1 HV=2 tokens=17", "x86-64-v3"},
};
INSTANTIATE_TEST_SUITE_P(Ops, TrialTest, testing::ValuesIn(kTrials),
                         [](const auto& one) { return one.param.name; });

using TrialFailureTest = TrialTest;
TEST_P(TrialFailureTest, ASecondUpdateOfTheStateIsSeenAsWrong) {
  const auto trial = make(GetParam(), 1);
  ASSERT_TRUE(trial);
  ASSERT_TRUE(trial->reset());
  ASSERT_TRUE(trial->launch());
  ASSERT_TRUE(trial->launch());
  const auto errors = trial->compare();
  ASSERT_TRUE(errors) << errors.error().message;
  for (const OutputError& error : *errors) EXPECT_FALSE(error.passed()) << error.name;
}
TEST_P(TrialFailureTest, AnOutputThatNobodyWroteIsSeenAsWrong) {
  const auto trial = make(GetParam(), 1);
  ASSERT_TRUE(trial);
  ASSERT_TRUE(trial->reset());
  const auto errors = trial->compare();
  ASSERT_TRUE(errors) << errors.error().message;
  for (const OutputError& error : *errors) EXPECT_FALSE(error.passed()) << error.name;
}
INSTANTIATE_TEST_SUITE_P(Ops, TrialFailureTest, testing::Values(kTrials[1]),
                         [](const auto& one) { return one.param.name; });

TEST(Comparison, NanAndInfinityMustBeMet) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  const auto passes = [](double got, double expected) {
    Comparison comparison("x", "1");
    comparison.add(got, expected, 1);
    return comparison.result().passed();
  };
  EXPECT_TRUE(passes(1.5, 1));
  EXPECT_FALSE(passes(2.5, 1));
  EXPECT_FALSE(passes(nan, 1));
  EXPECT_FALSE(passes(1, nan));
  EXPECT_FALSE(passes(infinity, 1));
  EXPECT_TRUE(passes(nan, nan));
  EXPECT_TRUE(passes(-infinity, -infinity));
  EXPECT_FALSE(passes(infinity, -infinity));
}

TEST(Comparison, Bf16UlpIsTheSpacingOfBf16Numbers) {
  EXPECT_EQ(bf16_ulp(1.0), 0x1p-7);
  EXPECT_EQ(bf16_ulp(-1.99), 0x1p-7);
  EXPECT_EQ(bf16_ulp(2.0), 0x1p-6);
}

}  // namespace
}  // namespace kiln
