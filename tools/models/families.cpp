// SPDX-License-Identifier: Apache-2.0
// One function per family of models, with the field names of its configuration class.
#include "tools/models/needs.h"

namespace kiln::cli {

// MLA in every layer, a mixture of experts after the first ones.
Result<void> add_deepseek(Needs& needs) {
  KILN_TRY_ASSIGN(const std::int64_t layers, needs.config().integer({"num_hidden_layers"}));
  const std::string use = layers_text("MLA", layers, layers);
  KILN_TRY(needs.add_latent_attention(use));
  KILN_TRY(needs.add_experts(Needs::Router::corrected));
  needs.add_missing("rmsnorm", "every layer");
  needs.add_missing("rope", use);
  return {};
}

namespace {

// The KDA layers; how many of the others there are.
Result<std::int64_t> add_kda_layers(Needs& needs, std::int64_t layers) {
  KILN_TRY_ASSIGN(const ConfigReader linear, needs.config().object("linear_attn_config"));
  KILN_TRY_ASSIGN(const std::int64_t heads, linear.per_rank({"num_heads"}, needs.ranks()));
  KILN_TRY_ASSIGN(const std::int64_t head_size, linear.integer({"head_dim"}));
  KILN_TRY_ASSIGN(const std::size_t kda_layers, linear.array_size("kda_layers"));
  KILN_TRY_ASSIGN(const std::size_t full_layers, linear.array_size("full_attn_layers"));
  const std::string use = layers_text("KDA", static_cast<std::int64_t>(kda_layers), layers);
  if (kda_layers > 0) {
    needs.add_linear_attention({heads, heads, head_size, head_size, "softplus"}, use);
    needs.add_missing("short_convolution", use);
    needs.add_missing("gated_rmsnorm", use);
  }
  return static_cast<std::int64_t>(full_layers);
}

}  // namespace

// Three KDA layers to one of full attention (MLA without rope), a mixture of experts after the
// first dense layers. Without linear_attn_config all layers are of full attention.
Result<void> add_kimi_linear(Needs& needs) {
  const ConfigReader& config = needs.config();
  KILN_TRY_ASSIGN(const std::int64_t layers, config.integer({"num_hidden_layers"}));
  std::int64_t full_layers = layers;
  if (config.has("linear_attn_config")) {
    KILN_TRY_ASSIGN(full_layers, add_kda_layers(needs, layers));
  }
  if (full_layers > 0) {
    KILN_TRY(needs.add_latent_attention(layers_text("MLA", full_layers, layers)));
  }
  KILN_TRY(needs.add_experts(Needs::Router::corrected));
  needs.add_missing("rmsnorm", "every layer, and the latent of MLA");
  return {};
}

// Grouped-query attention in every layer.
Result<void> add_llama(Needs& needs) {
  KILN_TRY_ASSIGN(const std::int64_t layers, needs.config().integer({"num_hidden_layers"}));
  KILN_TRY_ASSIGN(const Needs::Grouped grouped, needs.read_grouped_attention());
  const std::string use = layers_text("attention", layers, layers);
  needs.add_grouped_attention(grouped, use);
  needs.add_missing("rmsnorm", "every layer");
  needs.add_missing("rope", use);
  return {};
}

// Llama's attention with a norm of each query and key head.
Result<void> add_qwen3(Needs& needs) {
  KILN_TRY_ASSIGN(const std::int64_t layers, needs.config().integer({"num_hidden_layers"}));
  KILN_TRY_ASSIGN(const Needs::Grouped grouped, needs.read_grouped_attention());
  const std::string use = layers_text("attention", layers, layers);
  needs.add_grouped_attention(grouped, use);
  needs.add_head_norms(grouped.head_size, Needs::NormWeight::plain, use);
  KILN_TRY(needs.add_experts(Needs::Router::softmax));
  needs.add_missing("rmsnorm", "every layer");
  needs.add_missing("rope", use);
  return {};
}

namespace {

// Which layers have full attention: listed one by one, or every so many.
Result<std::int64_t> full_attention_layers(const ConfigReader& config, std::int64_t layers) {
  if (config.has("layer_types")) return config.count_of("layer_types", "full_attention");
  KILN_TRY_ASSIGN(const std::int64_t every, config.integer_or({"full_attention_interval"}, 4));
  return layers / every;
}

}  // namespace

// Gated DeltaNet (KDA with one gate per head) and gated attention, whose norms have weights 1 + w.
Result<void> add_qwen3_next(Needs& needs) {
  const ConfigReader& config = needs.config();
  const int ranks = needs.ranks();
  Needs::Linear gdn{};
  gdn.gate = "scalar";
  KILN_TRY_ASSIGN(gdn.key_heads, config.per_rank({"linear_num_key_heads"}, ranks));
  KILN_TRY_ASSIGN(gdn.value_heads, config.per_rank({"linear_num_value_heads"}, ranks));
  KILN_TRY_ASSIGN(gdn.key_size, config.integer({"linear_key_head_dim"}));
  KILN_TRY_ASSIGN(gdn.value_size, config.integer({"linear_value_head_dim"}));
  KILN_TRY_ASSIGN(const std::int64_t layers, config.integer({"num_hidden_layers"}));
  KILN_TRY_ASSIGN(const std::int64_t full, full_attention_layers(config, layers));
  const std::string linear_use = layers_text("GDN", layers - full, layers);
  const std::string full_use = layers_text("attention", full, layers);
  needs.add_linear_attention(gdn, linear_use);
  if (full > 0) {
    KILN_TRY_ASSIGN(const Needs::Grouped grouped, needs.read_grouped_attention());
    needs.add_grouped_attention(grouped, full_use);
    needs.add_head_norms(grouped.head_size, Needs::NormWeight::one_plus, full_use);
    needs.add_missing("rope", full_use);
    needs.add_missing("output_gate", full_use);
  }
  KILN_TRY(needs.add_experts(Needs::Router::softmax));
  needs.add_missing("short_convolution", linear_use);
  needs.add_missing("gated_rmsnorm", linear_use);
  needs.add_missing("rmsnorm", "every layer");
  return {};
}

}  // namespace kiln::cli
