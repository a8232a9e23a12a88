// SPDX-License-Identifier: Apache-2.0
#include "tools/model_config.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace kiln::cli {
namespace {

const std::string kKimiLinear = KILN_TEST_DATA "/kimi-linear-48b-a3b.config.json";

std::string message_for(std::string_view text, int ranks = 1) {
  const test::TempFolder folder;
  const auto needs = read_model_config(folder.write("config.json", text), ranks);
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

TEST(ModelConfig, KimiLinearSharesItsHeadsOverTheRanks) {
  const auto needs = read_model_config(kKimiLinear, 4);
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(needs->model_type, "kimi_linear");
  const ModelNeed& kda = needs->ops.front();
  EXPECT_EQ(kda.op, "kda_decode");
  const std::vector<NameValue> expected = {{"H", "8"}, {"HV", "8"}, {"K", "128"}, {"V", "128"}};
  EXPECT_EQ(kda.shape, expected);
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

TEST(ModelConfig, LatentAttentionDecodesOverTheSharedLatent) {
  const auto needs = read_model_config(KILN_TEST_DATA "/deepseek-v3.config.json", 8);
  ASSERT_TRUE(needs) << needs.error().message;
  EXPECT_EQ(shape_of(*needs, "attention_decode"), "Hq=16 Hkv=1 D_qk=576 D_vo=512 v_in_k=true ");
  EXPECT_EQ(shape_of(*needs, "attention_prefill"), "Hq=16 Hkv=16 D_qk=192 D_vo=128 ");
  EXPECT_EQ(shape_of(*needs, "qk_rmsnorm"), "Nq=1536 Nk=512 ");
  EXPECT_EQ(shape_of(*needs, "router_gemm"), "N=256 K=7168 ");
  EXPECT_EQ(shape_of(*needs, "kda_decode"), "absent");
}

TEST(ModelConfig, LlamaCopiesKeyHeadsWhereRanksOutnumberThem) {
  const std::string file = KILN_TEST_DATA "/llama-3.1-8b.config.json";
  EXPECT_EQ(shape_of(*read_model_config(file, 4), "attention_decode"),
            "Hq=8 Hkv=2 D_qk=128 D_vo=128 ");
  EXPECT_EQ(shape_of(*read_model_config(file, 16), "attention_decode"),
            "Hq=2 Hkv=1 D_qk=128 D_vo=128 ");
}

TEST(ModelConfig, SaysWhatIsWrong) {
  EXPECT_NE(message_for("{nonsense").find("is not JSON"), std::string::npos);
  EXPECT_NE(message_for("[1]").find("no JSON object"), std::string::npos);
  EXPECT_NE(message_for("{}").find("lacks 'model_type'"), std::string::npos);
  const std::string unknown = message_for(R"({"model_type": "gpt2"})");
  EXPECT_NE(unknown.find("unknown model_type 'gpt2'; known: "), std::string::npos) << unknown;
  EXPECT_NE(message_for(kSmallest, 3).find("num_heads = 4 does not divide by --tp 3"),
            std::string::npos);
}

TEST(ModelConfig, NamesTheFieldThatIsMissingOrMistyped) {
  const std::string text(kSmallest);
  EXPECT_NE(
      message_for(without(text, "\"kv_lora_rank\"", "\"other\"")).find("lacks 'kv_lora_rank'"),
      std::string::npos);
  EXPECT_NE(message_for(without(text, "\"head_dim\": 128", "\"head_dim\": \"big\""))
                .find("linear_attn_config: 'head_dim' is \"big\", not a positive integer"),
            std::string::npos);
  EXPECT_NE(
      message_for(without(text, "\"num_heads\": 4", "\"num_heads\": -4")).find("'num_heads' is -4"),
      std::string::npos);
  EXPECT_NE(message_for(without(text, "[1]", "1")).find("'kda_layers' is 1, not a list"),
            std::string::npos);
}

TEST(ModelConfig, AFileThatIsNotThere) {
  const auto needs = read_model_config("no/such/config.json", 1);
  ASSERT_FALSE(needs);
  EXPECT_NE(needs.error().message.find("cannot read 'no/such/config.json'"), std::string::npos);
}

}  // namespace
}  // namespace kiln::cli
