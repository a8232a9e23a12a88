// SPDX-License-Identifier: Apache-2.0
#include "tools/models/class_defaults.h"

#include <map>
#include <string>

namespace kiln::cli {

using nlohmann::json;

namespace {

json deepseek_v3() {
  return {{"hidden_size", 7168},        {"num_hidden_layers", 61},
          {"num_attention_heads", 128}, {"q_lora_rank", 1536},
          {"kv_lora_rank", 512},        {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},     {"v_head_dim", 128},
          {"n_routed_experts", 256},    {"n_group", 8}};
}

// num_key_value_heads and head_dim follow from the others.
json llama() {
  return {{"hidden_size", 4096}, {"num_hidden_layers", 32}, {"num_attention_heads", 32}};
}

json qwen3() {
  return {{"hidden_size", 4096},
          {"num_hidden_layers", 32},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 32},
          {"head_dim", 128}};
}

json qwen3_moe() {
  return {{"hidden_size", 2048},
          {"num_hidden_layers", 24},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 4},
          {"num_experts", 128}};
}

json qwen3_vl_moe_text() {
  return {{"hidden_size", 2048},
          {"num_hidden_layers", 24},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 16},
          {"num_experts", 60}};
}

json qwen3_next() {
  return {{"hidden_size", 2048},
          {"num_hidden_layers", 48},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 2},
          {"head_dim", 256},
          {"linear_num_key_heads", 16},
          {"linear_num_value_heads", 32},
          {"linear_key_head_dim", 128},
          {"linear_value_head_dim", 128},
          {"num_experts", 512}};
}

}  // namespace

const json& class_defaults(std::string_view model_type) {
  static const std::map<std::string, json, std::less<>> known = {
      {"deepseek_v3", deepseek_v3()},
      {"llama", llama()},
      {"qwen3", qwen3()},
      {"qwen3_moe", qwen3_moe()},
      {"qwen3_next", qwen3_next()},
      {"qwen3_vl_moe_text", qwen3_vl_moe_text()},
      {"qwen3_vl_text", qwen3()},
  };
  static const json none = json::object();
  const auto found = known.find(model_type);
  return found == known.end() ? none : found->second;
}

}  // namespace kiln::cli
