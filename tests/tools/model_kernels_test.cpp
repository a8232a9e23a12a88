// SPDX-License-Identifier: Apache-2.0
// What prewarm makes of a model's config.json is what an engine then asks for: the calls below are
// written down from the models' papers and code, not from Kiln's reading of their configs, and none
// of them may compile anything.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/tools/jitctl.h"

namespace kiln::test {
namespace {

using Words = std::vector<std::string>;

struct Model {
  const char* name;
  const char* config;
  Words settings;
  std::vector<Words> calls;
};

void PrintTo(const Model& model, std::ostream* stream) {
  *stream << model.name;
}

// Small batches: the kernels are those of any.
const Model kModels[] = {
    {"KimiLinear",
     "kimi-linear-48b-a3b",
     {"--tp", "4"},
     {{"kda_decode", "H=8", "HV=8", "batch=3"},
      {"kda_prefill", "H=8", "HV=8", "batch=1", "tokens=17"},
      {"attention_decode", "Hq=8", "Hkv=1", "D_qk=576", "D_vo=512", "v_in_k=true", "batch=2",
       "length=33"},
      {"attention_prefill", "Hq=8", "Hkv=8", "D_qk=192", "D_vo=128", "q_len=17"},
      {"router_gemm", "N=256", "K=2304", "gate=sigmoid", "correction=f32", "M=1"},
      {"router_gemm", "N=256", "K=2304", "gate=sigmoid", "correction=f32", "M=100"}}},
    {"DeepSeekV3",
     "deepseek-v3",
     {"--tp", "8"},
     {{"attention_decode", "Hq=16", "Hkv=1", "D_qk=576", "D_vo=512", "v_in_k=true", "batch=2",
       "length=33", "page_size=64"},
      {"attention_prefill", "Hq=16", "Hkv=16", "D_qk=192", "D_vo=128", "q_len=17"},
      {"qk_rmsnorm", "Nq=1536", "Nk=512", "M=5"},
      {"router_gemm", "N=256", "K=7168", "gate=sigmoid", "correction=f32", "n_group=8",
       "topk_group=4", "M=3"}}},
    {"KimiK2",
     "kimi-k2",
     {"--tp", "16", "--kv", "bf16", "--page-size", "64"},
     {{"attention_decode", "Hq=4", "Hkv=1", "D_qk=576", "D_vo=512", "v_in_k=true", "batch=2",
       "length=33", "page_size=64"},
      {"attention_prefill", "Hq=4", "Hkv=4", "D_qk=192", "D_vo=128", "q_len=17"},
      {"qk_rmsnorm", "Nq=1536", "Nk=512", "M=5"},
      {"router_gemm", "N=384", "K=7168", "gate=sigmoid", "correction=f32", "M=3"}}},
    {"Qwen3Next",
     "qwen3-next-80b-a3b",
     {"--tp", "4", "--state", "bf16"},
     {{"kda_decode", "H=4", "HV=8", "gate=scalar", "state=bf16", "batch=3"},
      {"kda_prefill", "H=4", "HV=8", "gate=scalar", "state=bf16", "batch=1", "tokens=17"},
      {"attention_decode", "Hq=4", "Hkv=1", "D_qk=256", "D_vo=256", "batch=2", "length=33"},
      {"attention_prefill", "Hq=4", "Hkv=1", "D_qk=256", "D_vo=256", "q_len=17"},
      {"qk_rmsnorm", "Nq=256", "Nk=256", "weight_bias=true", "M=5", "Hq=4"},
      {"router_gemm", "N=512", "K=2048", "gate=softmax", "topk=10", "M=3"}}},
    {"Qwen3Moe",
     "qwen3-30b-a3b",
     {"--tp", "2"},
     {{"attention_decode", "Hq=16", "Hkv=2", "batch=2", "length=33"},
      {"attention_prefill", "Hq=16", "Hkv=2", "q_len=17"},
      {"qk_rmsnorm", "Nq=128", "Nk=128", "M=5", "Hq=16", "Hk=2"},
      {"router_gemm", "N=128", "K=2048", "gate=softmax", "M=3"}}},
    {"Llama",
     "llama-3.1-8b",
     {"--tp", "4"},
     {{"attention_decode", "Hq=8", "Hkv=2", "batch=2", "length=33"},
      {"attention_prefill", "Hq=8", "Hkv=2", "q_len=17"}}},
};

class ModelKernels : public testing::TestWithParam<Model> {};

TEST_P(ModelKernels, AnEnginesCallsCompileNothingAfterPrewarm) {
  const Model& model = GetParam();
  Jitctl jitctl;
  Words prewarm = {"prewarm", "--config",
                   std::string(KILN_TEST_DATA "/") + model.config + ".config.json"};
  prewarm.insert(prewarm.end(), model.settings.begin(), model.settings.end());
  nlohmann::json warmed;
  ASSERT_EQ(jitctl.run_json(prewarm, &warmed).exit_code, 0) << warmed.dump(1);
  EXPECT_TRUE(warmed["not_built"].empty()) << warmed.dump(1);
  jitctl.set("KILN_CACHE_POLICY", "locked");
  for (const Words& call : model.calls) {
    Words words = {"run"};
    words.insert(words.end(), call.begin(), call.end());
    words.push_back("--no-time");
    nlohmann::json object;
    const auto result = jitctl.run_json(words, &object);
    ASSERT_EQ(result.exit_code, 0) << call.front() << ": " << result.err << result.out;
    EXPECT_EQ(object["stats"]["compiles"], 0) << call.front();
    EXPECT_EQ(object["stats"]["disk_hits"], 1) << call.front();
  }
}

INSTANTIATE_TEST_SUITE_P(Every, ModelKernels, testing::ValuesIn(kModels),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace kiln::test
