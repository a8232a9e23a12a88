// SPDX-License-Identifier: Apache-2.0
#include "tools/models/needs.h"

#include <fmt/format.h>

namespace kiln::cli {
namespace {

std::string text(std::int64_t value) {
  return fmt::format("{}", value);
}

}  // namespace

std::string layers_text(const char* kind, std::int64_t count, std::int64_t of) {
  return fmt::format("{} layers, {} of {}", kind, count, of);
}

void Needs::add(const char* op, std::vector<NameValue> shape, const std::string& use) {
  shape.push_back({"io", io_});
  needs_.push_back({op, std::move(shape), use});
}

void Needs::add_linear_attention(const Linear& linear, const std::string& use) {
  for (const char* op : {"kda_decode", "kda_prefill"}) {
    add(op,
        {{"H", text(linear.key_heads)},
         {"HV", text(linear.value_heads)},
         {"K", text(linear.key_size)},
         {"V", text(linear.value_size)},
         {"gate", linear.gate},
         {"state", settings_.state_type},
         {"gate_io", io_}},
        use);
  }
}

Result<Needs::Grouped> Needs::read_grouped_attention() const {
  KILN_TRY_ASSIGN(const std::int64_t heads, config_.integer({"num_attention_heads"}));
  Grouped grouped{};
  KILN_TRY_ASSIGN(grouped.q_heads, config_.per_rank({"num_attention_heads"}, ranks()));
  KILN_TRY_ASSIGN(const std::int64_t kv_heads, config_.integer_or({"num_key_value_heads"}, heads));
  // Where there are more ranks than key heads, ranks hold copies of one.
  grouped.kv_heads = 1;
  if (ranks() % kv_heads != 0) {
    grouped.kv_heads = grouped.q_heads;
    if (config_.has("num_key_value_heads")) {
      KILN_TRY_ASSIGN(grouped.kv_heads, config_.per_rank({"num_key_value_heads"}, ranks()));
    }
  }
  if (config_.has("head_dim")) {
    KILN_TRY_ASSIGN(grouped.head_size, config_.integer({"head_dim"}));
    return grouped;
  }
  KILN_TRY_ASSIGN(const std::int64_t hidden, config_.integer({"hidden_size"}));
  if (hidden % heads != 0) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: lacks 'head_dim', and hidden_size = {} does not divide by "
                            "num_attention_heads = {}",
                            config_.where(), hidden, heads));
  }
  grouped.head_size = hidden / heads;
  return grouped;
}

void Needs::add_grouped_attention(const Grouped& grouped, const std::string& use) {
  const std::vector<NameValue> shape = {{"Hq", text(grouped.q_heads)},
                                        {"Hkv", text(grouped.kv_heads)},
                                        {"D_qk", text(grouped.head_size)},
                                        {"D_vo", text(grouped.head_size)}};
  std::vector<NameValue> decode = shape;
  decode.push_back({"kv", kv_type()});
  add("attention_decode", std::move(decode), use);
  add("attention_prefill", shape, use);
  // A chunk of a prompt, over what the cache has of it: prefill takes one type for all.
  if (kv_type() != io_) return;
  std::vector<NameValue> chunk = shape;
  chunk.push_back({"paged", "true"});
  add("attention_prefill", std::move(chunk), use);
}

void Needs::add_head_norms(std::int64_t head_size, NormWeight weight, const std::string& use) {
  add("qk_rmsnorm",
      {{"Nq", text(head_size)},
       {"Nk", text(head_size)},
       {"weights", io_},
       {"weight_bias", weight == NormWeight::one_plus ? "true" : "false"}},
      use);
}

Result<void> Needs::add_latent_attention(const std::string& use) {
  KILN_TRY_ASSIGN(const std::int64_t heads, config_.per_rank({"num_attention_heads"}, ranks()));
  KILN_TRY_ASSIGN(const std::int64_t latent, config_.integer({"kv_lora_rank"}));
  KILN_TRY_ASSIGN(const std::int64_t nope, config_.integer({"qk_nope_head_dim"}));
  KILN_TRY_ASSIGN(const std::int64_t rope, config_.integer({"qk_rope_head_dim"}));
  KILN_TRY_ASSIGN(const std::int64_t value, config_.integer({"v_head_dim"}));
  add("attention_decode",
      {{"Hq", text(heads)},
       {"Hkv", "1"},
       {"D_qk", text(latent + rope)},
       {"D_vo", text(latent)},
       {"v_in_k", "true"},
       {"kv", kv_type()}},
      use);
  add("attention_prefill",
      {{"Hq", text(heads)},
       {"Hkv", text(heads)},
       {"D_qk", text(nope + rope)},
       {"D_vo", text(value)}},
      use);
  if (!config_.has("q_lora_rank")) return {};
  KILN_TRY_ASSIGN(const std::int64_t q_latent, config_.integer({"q_lora_rank"}));
  add("qk_rmsnorm", {{"Nq", text(q_latent)}, {"Nk", text(latent)}, {"weights", io_}}, use);
  return {};
}

Result<void> Needs::add_experts(Router router) {
  KILN_TRY_ASSIGN(
      const std::int64_t experts,
      config_.integer_or_zero({"n_routed_experts", "num_experts", "num_local_experts"}));
  if (experts == 0) return {};
  KILN_TRY_ASSIGN(const std::int64_t hidden, config_.integer({"hidden_size"}));
  const std::string use = fmt::format("MoE layers, {} experts", experts);
  std::vector<NameValue> shape = {{"N", text(experts)}, {"K", text(hidden)}};
  if (router == Router::corrected) {
    KILN_TRY_ASSIGN(const std::string scores,
                    config_.word_or({"scoring_func", "moe_router_activation_func"}, "sigmoid"));
    KILN_TRY_ASSIGN(const std::int64_t groups,
                    config_.integer_or({"n_group", "num_expert_group"}, 1));
    shape.insert(shape.end(), {{"gate", scores}, {"correction", "f32"}, {"n_group", text(groups)}});
  } else {
    shape.push_back({"gate", "softmax"});
  }
  add("router_gemm", std::move(shape), use);
  add_missing("expert_gemm", use);
  return {};
}

}  // namespace kiln::cli
