// SPDX-License-Identifier: Apache-2.0
#include "tools/model_config.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace kiln::cli {
namespace {

using nlohmann::json;

// One JSON object of a config file, read field by field with errors that name file and field.
class ConfigReader {
 public:
  ConfigReader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  Result<std::int64_t> integer(const char* name) const {
    KILN_TRY_ASSIGN(const json* const value, field(name));
    if (!value->is_number_integer() || value->get<std::int64_t>() <= 0) {
      return bad(name, *value, "a positive integer");
    }
    return value->get<std::int64_t>();
  }

  // Whether an optional field is there and not null.
  bool has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }

  Result<std::size_t> array_size(const char* name) const {
    KILN_TRY_ASSIGN(const json* const value, field(name));
    if (!value->is_array()) return bad(name, *value, "a list");
    return value->size();
  }

  Result<ConfigReader> object(const char* name) const {
    KILN_TRY_ASSIGN(const json* const value, field(name));
    if (!value->is_object()) return bad(name, *value, "an object");
    return ConfigReader(*value, fmt::format("{}: {}", where_, name));
  }

  Result<std::string> word(const char* name) const {
    KILN_TRY_ASSIGN(const json* const value, field(name));
    if (!value->is_string()) return bad(name, *value, "a string");
    return value->get<std::string>();
  }

  // The share of one of `ranks` in a count that they divide.
  Result<std::int64_t> per_rank(const char* name, int ranks) const {
    KILN_TRY_ASSIGN(const std::int64_t count, integer(name));
    if (count % ranks == 0) return count / ranks;
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: {} = {} does not divide by --tp {}", where_, name, count, ranks));
  }

 private:
  Result<const json*> field(const char* name) const {
    const auto found = object_.find(name);
    if (found != object_.end()) return &*found;
    return fail(ErrorCode::invalid_argument, fmt::format("{}: lacks '{}'", where_, name));
  }
  tl::unexpected<Error> bad(const char* name, const json& value, const char* accepted) const {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: '{}' is {}, not {}", where_, name, value.dump(), accepted));
  }

  const json& object_;
  std::string where_;
};

Result<json> parse_file(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("cannot read '{}': {}", file.string(), std::strerror(errno)));
  }
  try {
    json parsed = json::parse(stream);
    if (parsed.is_object()) return parsed;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a model's config.json: no JSON object", file.string()));
  } catch (const json::exception& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not JSON: {}", file.string(), error.what()));
  }
}

std::string text(std::int64_t value) {
  return fmt::format("{}", value);
}

// Multi-head latent attention: decode over the shared latent, prefill with expanded heads.
struct LatentAttention {
  std::int64_t heads, latent, nope, rope, value;
};

Result<LatentAttention> read_latent_attention(const ConfigReader& config, int ranks) {
  LatentAttention mla{};
  KILN_TRY_ASSIGN(mla.heads, config.per_rank("num_attention_heads", ranks));
  KILN_TRY_ASSIGN(mla.latent, config.integer("kv_lora_rank"));
  KILN_TRY_ASSIGN(mla.nope, config.integer("qk_nope_head_dim"));
  KILN_TRY_ASSIGN(mla.rope, config.integer("qk_rope_head_dim"));
  KILN_TRY_ASSIGN(mla.value, config.integer("v_head_dim"));
  return mla;
}

void add_latent_attention(std::vector<ModelNeed>& needs, const LatentAttention& mla,
                          const std::string& use) {
  needs.push_back({"attention_decode",
                   {{"Hq", text(mla.heads)},
                    {"Hkv", "1"},
                    {"D_qk", text(mla.latent + mla.rope)},
                    {"D_vo", text(mla.latent)},
                    {"v_in_k", "true"}},
                   use});
  needs.push_back({"attention_prefill",
                   {{"Hq", text(mla.heads)},
                    {"Hkv", text(mla.heads)},
                    {"D_qk", text(mla.nope + mla.rope)},
                    {"D_vo", text(mla.value)}},
                   use});
}

// The router of a mixture of experts, which is not split over ranks, and what follows it.
Result<void> add_experts(std::vector<ModelNeed>& needs, const ConfigReader& config,
                         const char* experts_name) {
  KILN_TRY_ASSIGN(const std::int64_t experts, config.integer(experts_name));
  KILN_TRY_ASSIGN(const std::int64_t hidden, config.integer("hidden_size"));
  const std::string use = fmt::format("MoE layers, {} experts", experts);
  needs.push_back({"router_gemm", {{"N", text(experts)}, {"K", text(hidden)}}, use});
  needs.push_back({"gate_top_k", {}, use});
  needs.push_back({"expert_gemm", {}, use});
  return {};
}

// Kimi-Linear: three KDA layers to one of full attention (MLA without a query latent), a mixture of
// experts after the first dense layers. Field names as in the model's configuration class.
Result<std::vector<ModelNeed>> kimi_linear(const ConfigReader& config, int ranks) {
  KILN_TRY_ASSIGN(const ConfigReader linear, config.object("linear_attn_config"));
  KILN_TRY_ASSIGN(const std::int64_t heads, linear.per_rank("num_heads", ranks));
  KILN_TRY_ASSIGN(const std::int64_t head_dim, linear.integer("head_dim"));
  KILN_TRY_ASSIGN(const std::size_t kda_layers, linear.array_size("kda_layers"));
  KILN_TRY_ASSIGN(const std::size_t full_layers, linear.array_size("full_attn_layers"));
  KILN_TRY_ASSIGN(const std::int64_t layers, config.integer("num_hidden_layers"));
  KILN_TRY_ASSIGN(const LatentAttention mla, read_latent_attention(config, ranks));
  const std::vector<NameValue> kda = {
      {"H", text(heads)}, {"HV", text(heads)}, {"K", text(head_dim)}, {"V", text(head_dim)}};
  const std::string kda_use = fmt::format("KDA layers, {} of {}", kda_layers, layers);
  const std::string mla_use = fmt::format("MLA layers, {} of {}", full_layers, layers);
  std::vector<ModelNeed> needs = {{"kda_decode", kda, kda_use}, {"kda_prefill", kda, kda_use}};
  add_latent_attention(needs, mla, mla_use);
  KILN_TRY(add_experts(needs, config, "num_experts"));
  needs.push_back({"short_convolution", {}, kda_use});
  needs.push_back({"gated_rmsnorm", {}, kda_use});
  needs.push_back({"rmsnorm", {}, "every layer, and the latent of MLA"});
  return needs;
}

// DeepSeek-V3: MLA with a query latent in every layer, a mixture of experts after the first ones.
Result<std::vector<ModelNeed>> deepseek_v3(const ConfigReader& config, int ranks) {
  KILN_TRY_ASSIGN(const LatentAttention mla, read_latent_attention(config, ranks));
  KILN_TRY_ASSIGN(const std::int64_t q_latent, config.integer("q_lora_rank"));
  KILN_TRY_ASSIGN(const std::int64_t layers, config.integer("num_hidden_layers"));
  const std::string use = fmt::format("MLA layers, {} of {}", layers, layers);
  std::vector<ModelNeed> needs;
  add_latent_attention(needs, mla, use);
  needs.push_back({"qk_rmsnorm", {{"Nq", text(q_latent)}, {"Nk", text(mla.latent)}}, use});
  KILN_TRY(add_experts(needs, config, "n_routed_experts"));
  needs.push_back({"rmsnorm", {}, "every layer"});
  needs.push_back({"rope", {}, use});
  return needs;
}

// Llama: grouped-query attention in every layer. Where there are more ranks than key heads, ranks
// hold copies of one.
Result<std::vector<ModelNeed>> llama(const ConfigReader& config, int ranks) {
  KILN_TRY_ASSIGN(const std::int64_t heads, config.integer("num_attention_heads"));
  KILN_TRY_ASSIGN(const std::int64_t heads_per_rank, config.per_rank("num_attention_heads", ranks));
  KILN_TRY_ASSIGN(const std::int64_t kv_heads, config.integer("num_key_value_heads"));
  KILN_TRY_ASSIGN(const std::int64_t hidden, config.integer("hidden_size"));
  KILN_TRY_ASSIGN(const std::int64_t layers, config.integer("num_hidden_layers"));
  std::int64_t kv_per_rank = 1;
  if (ranks % kv_heads != 0) {
    KILN_TRY_ASSIGN(kv_per_rank, config.per_rank("num_key_value_heads", ranks));
  }
  std::int64_t head_dim = hidden / heads;
  if (config.has("head_dim")) {
    KILN_TRY_ASSIGN(head_dim, config.integer("head_dim"));
  }
  const std::vector<NameValue> shape = {{"Hq", text(heads_per_rank)},
                                        {"Hkv", text(kv_per_rank)},
                                        {"D_qk", text(head_dim)},
                                        {"D_vo", text(head_dim)}};
  const std::string use = fmt::format("attention layers, {} of {}", layers, layers);
  return std::vector<ModelNeed>{{"attention_decode", shape, use},
                                {"attention_prefill", shape, use},
                                {"rmsnorm", {}, "every layer"},
                                {"rope", {}, use}};
}

struct KnownModel {
  const char* model_type;
  Result<std::vector<ModelNeed>> (*needs)(const ConfigReader&, int ranks);
};
constexpr KnownModel kKnownModels[] = {
    {"deepseek_v3", deepseek_v3}, {"kimi_linear", kimi_linear}, {"llama", llama}};

}  // namespace

Result<ModelNeeds> read_model_config(const std::filesystem::path& file, int tensor_parallel) {
  KILN_TRY_ASSIGN(const json parsed, parse_file(file));
  const ConfigReader config(parsed, "'" + file.string() + "'");
  ModelNeeds needs;
  KILN_TRY_ASSIGN(needs.model_type, config.word("model_type"));
  std::string known;
  for (const KnownModel& model : kKnownModels) {
    if (needs.model_type == model.model_type) {
      KILN_TRY_ASSIGN(needs.ops, model.needs(config, tensor_parallel));
      return needs;
    }
    known += (known.empty() ? "" : ", ") + std::string(model.model_type);
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("'{}': unknown model_type '{}'; known: {}; for another model name the op "
                          "and its shape: jitctl prewarm OP name=value...",
                          file.string(), needs.model_type, known));
}

}  // namespace kiln::cli
