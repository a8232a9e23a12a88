// SPDX-License-Identifier: Apache-2.0
#include "tools/models/model_config.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/temp_folder.h"

namespace kiln::cli {
namespace {

const std::string kKimiLinear = KILN_TEST_DATA "/kimi-linear-48b-a3b.config.json";

std::string message_for(std::string_view text, int ranks = 1) {
  const test::TempFolder folder;
  const auto needs =
      read_model_config(folder.write("config.json", text), {.tensor_parallel = ranks});
  EXPECT_FALSE(needs);
  if (needs) return "";
  EXPECT_EQ(needs.error().code, ErrorCode::invalid_argument);
  return needs.error().message;
}

constexpr std::string_view kSmallest = R"({"model_type": "kimi_linear", "hidden_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 4, "kv_lora_rank": 16, "num_experts": 8,
  "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
  "linear_attn_config": {"num_heads": 4, "head_dim": 128, "kda_layers": [1],
  "full_attn_layers": [2]}})";

std::string without(std::string text, std::string_view from, std::string_view to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

// The shape that `needs` asks of `op`, as text; "absent" when it does not ask for it.
std::string shape_of(const ModelNeeds& needs, std::string_view op) {
  for (const ModelNeed& need : needs.ops) {
    if (need.op != op) continue;
    std::string text;
    for (const auto& [name, value] : need.shape) text += name + "=" + value + " ";
    return text;
  }
  return "absent";
}

TEST(ModelConfig, KimiLinearSharesItsHeadsOverTheRanks) {
  const auto needs = read_model_config(kKimiLinear, {.tensor_parallel = 4});
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(needs->model_type, "kimi_linear");
  EXPECT_EQ(shape_of(*needs, "kda_decode"),
            "H=8 HV=8 K=128 V=128 gate=softplus state=f32 gate_io=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "qk_rmsnorm"), "absent");
}

TEST(ModelConfig, LatentAttentionDecodesOverTheSharedLatent) {
  const auto needs =
      read_model_config(KILN_TEST_DATA "/deepseek-v3.config.json", {.tensor_parallel = 8});
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(shape_of(*needs, "attention_decode"),
            "Hq=16 Hkv=1 D_qk=576 D_vo=512 v_in_k=true kv=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "attention_prefill"), "Hq=16 Hkv=16 D_qk=192 D_vo=128 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "qk_rmsnorm"), "Nq=1536 Nk=512 weights=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "router_gemm"),
            "N=256 K=7168 gate=sigmoid correction=f32 n_group=8 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "kda_decode"), "absent");
}

TEST(ModelConfig, LlamaCopiesKeyHeadsWhereRanksOutnumberThem) {
  const std::string file = KILN_TEST_DATA "/llama-3.1-8b.config.json";
  EXPECT_EQ(shape_of(*read_model_config(file, {.tensor_parallel = 4}), "attention_decode"),
            "Hq=8 Hkv=2 D_qk=128 D_vo=128 kv=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*read_model_config(file, {.tensor_parallel = 16}), "attention_decode"),
            "Hq=2 Hkv=1 D_qk=128 D_vo=128 kv=bf16 io=bf16 ");
}

TEST(ModelConfig, ANestedLanguageModelIsRead) {
  const auto needs = read_model_config(KILN_TEST_DATA "/kimi-vl-a3b.config.json", {});
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(needs->model_type, "deepseek_v3");
  EXPECT_EQ(shape_of(*needs, "attention_decode"),
            "Hq=16 Hkv=1 D_qk=576 D_vo=512 v_in_k=true kv=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "qk_rmsnorm"), "absent") << "its queries have no latent";
}

TEST(ModelConfig, LayersAreListedOrEverySoMany) {
  const std::string file = KILN_TEST_DATA "/qwen3-next-80b-a3b.config.json";
  const auto every = read_model_config(file, {.tensor_parallel = 2});
  ASSERT_TRUE(every) << every.error().message;
  EXPECT_EQ(every->ops.front().used_for, "GDN layers, 36 of 48");
  EXPECT_EQ(shape_of(*every, "kda_prefill"),
            "H=8 HV=16 K=128 V=128 gate=scalar state=f32 gate_io=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*every, "qk_rmsnorm"), "Nq=256 Nk=256 weights=bf16 weight_bias=true io=bf16 ");
  const test::TempFolder folder;
  const auto listed = read_model_config(folder.write("config.json", R"({"model_type": "qwen3_next",
    "hidden_size": 64, "num_hidden_layers": 3, "linear_num_key_heads": 2, "dtype": "float16",
    "linear_num_value_heads": 4, "linear_key_head_dim": 64, "linear_value_head_dim": 32,
    "num_experts": 0,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention"]})"),
                                        {});
  ASSERT_TRUE(listed) << listed.error().message;
  EXPECT_EQ(listed->ops.front().used_for, "GDN layers, 3 of 3");
  EXPECT_EQ(shape_of(*listed, "kda_decode"),
            "H=2 HV=4 K=64 V=32 gate=scalar state=f32 gate_io=f16 io=f16 ");
  EXPECT_EQ(shape_of(*listed, "attention_decode"), "absent");
  EXPECT_EQ(shape_of(*listed, "router_gemm"), "absent") << "it has no experts";
}

TEST(ModelConfig, OldAndNewNamesOfAFieldAreOne) {
  const auto experts = [](const char* name) {
    const test::TempFolder folder;
    const auto needs = read_model_config(
        folder.write("config.json", std::string(R"({"model_type": "qwen3_moe", "hidden_size": 128,
          "num_hidden_layers": 2, "num_attention_heads": 2, ")") +
                                        name + R"(": 8})"),
        {});
    return needs ? shape_of(*needs, "router_gemm") : needs.error().message;
  };
  for (const char* name : {"num_experts", "n_routed_experts", "num_local_experts"}) {
    EXPECT_EQ(experts(name), "N=8 K=128 gate=softmax io=bf16 ") << name;
  }
}

// What a config leaves out is what its class in transformers has, wherever it is nested; null is
// none. LLaVA 1.5 has such a text_config: transformers leaves out what equals Llama's defaults.
struct LeftOut {
  const char* name;
  const char* config;
  const char* op;
  const char* shape;
};

void PrintTo(const LeftOut& one, std::ostream* stream) {
  *stream << one.name;
}

class ModelConfigLeavesOut : public testing::TestWithParam<LeftOut> {};

TEST_P(ModelConfigLeavesOut, WhatItsClassSays) {
  const LeftOut& one = GetParam();
  const test::TempFolder folder;
  const auto needs = read_model_config(folder.write("config.json", one.config), {});
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(shape_of(*needs, one.op), one.shape);
}

const LeftOut kLeftOut[] = {
    {"llava", R"({"model_type": "llava", "vision_config": {"hidden_size": 1024},
       "text_config": {"model_type": "llama", "torch_dtype": "float16", "vocab_size": 32064}})",
     "attention_decode", "Hq=32 Hkv=32 D_qk=128 D_vo=128 kv=f16 io=f16 "},
    {"llama_kv_heads_and_head_size", R"({"model_type": "llama", "hidden_size": 2048,
       "num_attention_heads": 16, "head_dim": null})",
     "attention_decode", "Hq=16 Hkv=16 D_qk=128 D_vo=128 kv=bf16 io=bf16 "},
    {"deepseek_latents", R"({"model_type": "deepseek_v3", "num_attention_heads": 16})",
     "qk_rmsnorm", "Nq=1536 Nk=512 weights=bf16 io=bf16 "},
    {"deepseek_without_q_latent", R"({"model_type": "deepseek_v3", "q_lora_rank": null})",
     "qk_rmsnorm", "absent"},
    {"deepseek_groups", R"({"model_type": "deepseek_v3", "hidden_size": 512})", "router_gemm",
     "N=256 K=512 gate=sigmoid correction=f32 n_group=8 io=bf16 "},
    {"kimi_k2_scores", R"({"model_type": "kimi_k2", "num_hidden_layers": 2, "hidden_size": 512,
       "num_attention_heads": 8, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
       "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 16})",
     "router_gemm", "N=16 K=512 gate=sigmoid correction=f32 n_group=1 io=bf16 "},
    {"kimi_linear_without_kda", R"({"model_type": "kimi_linear", "num_hidden_layers": 2,
       "num_attention_heads": 8, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
       "qk_rope_head_dim": 16, "v_head_dim": 32, "linear_attn_config": null})",
     "kda_decode", "absent"},
    {"qwen3", R"({"model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16,
       "num_key_value_heads": 8})",
     "qk_rmsnorm", "Nq=128 Nk=128 weights=bf16 weight_bias=false io=bf16 "},
    {"qwen3_moe", R"({"model_type": "qwen3_moe"})", "attention_prefill",
     "Hq=32 Hkv=4 D_qk=64 D_vo=64 io=bf16 "},
    {"qwen3_next_interval", R"({"model_type": "qwen3_next", "num_hidden_layers": 3})",
     "attention_decode", "absent"},
    {"qwen3_next_gdn", R"({"model_type": "qwen3_next"})", "kda_decode",
     "H=16 HV=32 K=128 V=128 gate=scalar state=f32 gate_io=bf16 io=bf16 "},
    {"qwen3_vl", R"({"model_type": "qwen3_vl_moe", "text_config": {
       "model_type": "qwen3_vl_moe_text", "num_local_experts": 128}})",
     "router_gemm", "N=128 K=2048 gate=softmax io=bf16 "},
    {"internvl", R"({"model_type": "internvl_chat", "torch_dtype": "float16", "llm_config": {
       "model_type": "qwen3", "num_key_value_heads": 8}})",
     "attention_prefill", "Hq=32 Hkv=8 D_qk=128 D_vo=128 io=f16 "},
};

INSTANTIATE_TEST_SUITE_P(Every, ModelConfigLeavesOut, testing::ValuesIn(kLeftOut),
                         [](const auto& tested) { return tested.param.name; });

TEST(ModelConfig, TheTypeOfActivationsHasTwoNamesAndTwoPlaces) {
  const test::TempFolder folder;
  const auto io_of = [&](const char* whole, const char* nested) {
    const auto needs = read_model_config(
        folder.write("config.json", std::string(R"({"model_type": "some_vl")") + whole +
                                        R"(, "text_config": {"model_type": "llama")" + nested +
                                        "}}"),
        {});
    return needs ? shape_of(*needs, "attention_prefill") : needs.error().message;
  };
  const std::string half = "Hq=32 Hkv=32 D_qk=128 D_vo=128 io=f16 ";
  for (const char* name : {"dtype", "torch_dtype"}) {
    const std::string field = std::string(", \"") + name + "\": \"float16\"";
    EXPECT_EQ(io_of(field.c_str(), ""), half) << name;
    EXPECT_EQ(io_of("", field.c_str()), half) << name;
    EXPECT_EQ(io_of(R"(, "dtype": "bfloat16")", field.c_str()), half) << name;
  }
}

TEST(ModelConfig, PrefillReadsThePagedCacheWhereItIsOfItsType) {
  const std::string file = KILN_TEST_DATA "/llama-3.1-8b.config.json";
  const auto prefills = [&](const char* kv_type) {
    std::vector<std::string> paged;
    const auto needs = read_model_config(file, {.kv_type = kv_type});
    for (const ModelNeed& need : needs->ops) {
      if (need.op != "attention_prefill") continue;
      paged.emplace_back("false");
      for (const auto& [name, value] : need.shape) {
        if (name == "paged") paged.back() = value;
      }
    }
    return paged;
  };
  EXPECT_EQ(prefills("auto"), (std::vector<std::string>{"false", "true"}));
  EXPECT_EQ(prefills("bf16"), (std::vector<std::string>{"false", "true"}));
  EXPECT_EQ(prefills("e4m3"), (std::vector<std::string>{"false"}));
}

TEST(ModelConfig, StateAndKvTypesAreTheEngines) {
  const auto needs = read_model_config(kKimiLinear, {.state_type = "bf16", .kv_type = "e4m3"});
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(shape_of(*needs, "kda_decode"),
            "H=32 HV=32 K=128 V=128 gate=softplus state=bf16 gate_io=bf16 io=bf16 ");
  EXPECT_EQ(shape_of(*needs, "attention_decode"),
            "Hq=32 Hkv=1 D_qk=576 D_vo=512 v_in_k=true kv=e4m3 io=bf16 ");
}

TEST(ModelConfig, SaysWhatIsWrong) {
  EXPECT_NE(message_for("{nonsense").find("is not JSON"), std::string::npos);
  EXPECT_NE(message_for("[1]").find("no JSON object"), std::string::npos);
  EXPECT_NE(message_for("{}").find("lacks 'model_type'"), std::string::npos);
  const std::string unknown = message_for(R"({"model_type": "gpt2"})");
  EXPECT_NE(unknown.find("unknown model_type 'gpt2'; known: "), std::string::npos) << unknown;
  EXPECT_NE(message_for(kSmallest, 3).find("num_heads = 4 does not divide by --tp 3"),
            std::string::npos);
  EXPECT_NE(message_for(without(std::string(kSmallest), "\"hidden_size\"",
                                "\"dtype\": \"float32\", \"hidden_size\""))
                .find("activations of type 'float32'; bfloat16 and float16 are taken"),
            std::string::npos);
  EXPECT_NE(message_for(R"({"model_type": "llava", "text_config": {"model_type": "gpt2"}})")
                .find("text_config: unknown model_type 'gpt2'; known: "),
            std::string::npos);
  EXPECT_NE(message_for(R"({"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 10,
                            "num_attention_heads": 4})")
                .find("hidden_size = 10 does not divide by num_attention_heads = 4"),
            std::string::npos);
}

TEST(ModelConfig, NamesTheFieldThatIsMissingOrMistyped) {
  const std::string text(kSmallest);
  EXPECT_NE(
      message_for(without(text, "\"kv_lora_rank\"", "\"other\"")).find("lacks 'kv_lora_rank'"),
      std::string::npos);
  EXPECT_NE(
      message_for(without(text, "\"head_dim\": 128", "\"head_dim\": \"big\""))
          .find("linear_attn_config: 'head_dim' is \"big\", not a positive integer below 2^31"),
      std::string::npos);
  EXPECT_NE(
      message_for(without(text, "\"num_heads\": 4", "\"num_heads\": -4")).find("'num_heads' is -4"),
      std::string::npos);
  EXPECT_NE(message_for(without(text, "[1]", "1")).find("'kda_layers' is 1, not a list"),
            std::string::npos);
}

TEST(ModelConfig, AFileThatIsNotThere) {
  const auto needs = read_model_config("no/such/config.json", {.tensor_parallel = 1});
  ASSERT_FALSE(needs);
  EXPECT_NE(needs.error().message.find("cannot read 'no/such/config.json'"), std::string::npos);
}

}  // namespace
}  // namespace kiln::cli
