// SPDX-License-Identifier: Apache-2.0
// What prewarm makes of a model's config.json is what an engine then asks for: the calls below are
// written down from the models' papers and code, not from Kiln's reading of their configs, and none
// of them may compile anything.
#include <gtest/gtest.h>

#include <ostream>
#include <set>

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

// Small batches: the kernels are those of any. Each model's calls ask for every op that it needs,
// so that what prewarm made and nobody asks for shows too.
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
      {"attention_prefill", "Hq=4", "Hkv=1", "D_qk=256", "D_vo=256", "q_len=17", "paged=true"},
      {"qk_rmsnorm", "Nq=256", "Nk=256", "weight_bias=true", "M=5", "Hq=4"},
      {"router_gemm", "N=512", "K=2048", "gate=softmax", "topk=10", "M=3"}}},
    {"Qwen3Moe",
     "qwen3-30b-a3b",
     {"--tp", "2"},
     {{"attention_decode", "Hq=16", "Hkv=2", "batch=2", "length=33"},
      {"attention_prefill", "Hq=16", "Hkv=2", "q_len=17"},
      {"attention_prefill", "Hq=16", "Hkv=2", "q_len=9", "kv_len=40", "paged=true"},
      {"qk_rmsnorm", "Nq=128", "Nk=128", "M=5", "Hq=16", "Hk=2"},
      {"router_gemm", "N=128", "K=2048", "gate=softmax", "M=3"}}},
    {"KimiVlWithANestedConfig",
     "kimi-vl-a3b",
     {"--tp", "2", "--page-size", "64"},
     {{"attention_decode", "Hq=8", "Hkv=1", "D_qk=576", "D_vo=512", "v_in_k=true", "batch=2",
       "length=130", "page_size=64"},
      {"attention_decode", "Hq=8", "Hkv=1", "D_qk=576", "D_vo=512", "v_in_k=true", "batch=1",
       "length=33", "page_size=16"},
      {"attention_prefill", "Hq=8", "Hkv=8", "D_qk=192", "D_vo=128", "q_len=17"},
      {"router_gemm", "N=64", "K=2048", "gate=sigmoid", "correction=f32", "topk=6", "M=3"}}},
    {"LlamaWithAnFp8Cache",
     "llama-3.1-8b",
     {"--tp", "8", "--kv", "e4m3", "--page-size", "32"},
     {{"attention_decode", "Hq=4", "Hkv=1", "kv=e4m3", "batch=2", "length=33", "page_size=32"},
      {"attention_prefill", "Hq=4", "Hkv=1", "q_len=17"}}},
    {"Llama",
     "llama-3.1-8b",
     {"--tp", "4"},
     {{"attention_decode", "Hq=8", "Hkv=2", "batch=2", "length=33"},
      {"attention_prefill", "Hq=8", "Hkv=2", "q_len=17"},
      {"attention_prefill", "Hq=8", "Hkv=2", "q_len=9", "kv_len=40", "paged=true"}}},
};

class ModelKernels : public testing::TestWithParam<Model> {};

// The kernels that a prewarm with these words would make, on archs of which no machine has all.
std::set<std::string> listed(const Jitctl& jitctl, Words words) {
  words.insert(words.begin(), "prewarm");
  words.insert(words.end(),
               {"--arch", "cpu,simt,sm_80,sm_90a,gfx90a,gfx942", "--dry-run", "--check"});
  nlohmann::json object;
  const auto result = jitctl.run_json(words, &object);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::set<std::string> labels;
  for (const auto& kernel : object["kernels"]) labels.insert(kernel["label"]);
  return labels;
}

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
  const std::string plan = (jitctl.home().path() / "engine.plan").string();
  jitctl.set("KILN_RECORD_PLAN", plan);
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
  // No kernel less, and no kernel more: the same set that these calls ask for, on any arch.
  jitctl.set("KILN_CACHE_POLICY", "");
  jitctl.set("KILN_RECORD_PLAN", "");
  const std::set<std::string> asked = listed(jitctl, {"--plan", plan});
  EXPECT_EQ(listed(jitctl, {prewarm.begin() + 1, prewarm.end()}), asked);
  EXPECT_GT(asked.size(), warmed["kernels"].size());
}

INSTANTIATE_TEST_SUITE_P(Every, ModelKernels, testing::ValuesIn(kModels),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace kiln::test
