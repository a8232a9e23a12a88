// SPDX-License-Identifier: Apache-2.0
#include "tools/models/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tools/models/class_defaults.h"

namespace kiln::cli {
namespace {

struct KnownModel {
  const char* model_type;
  Result<void> (*add)(Needs&);
};
constexpr KnownModel kKnownModels[] = {
    {"deepseek_v3", add_deepseek},
    {"kimi_k2", add_deepseek},
    {"kimi_linear", add_kimi_linear},
    {"llama", add_llama},
    {"qwen3", add_qwen3},
    {"qwen3_moe", add_qwen3},
    {"qwen3_next", add_qwen3_next},
    {"qwen3_vl_moe_text", add_qwen3},
    {"qwen3_vl_text", add_qwen3},
};

const KnownModel* find_model(std::string_view model_type) {
  const auto* const found =
      std::find_if(std::begin(kKnownModels), std::end(kKnownModels),
                   [&](const KnownModel& model) { return model.model_type == model_type; });
  return found == std::end(kKnownModels) ? nullptr : found;
}

// The part of a config that describes the language model: itself, or what it nests.
Result<ConfigReader> language_model(const ConfigReader& config) {
  KILN_TRY_ASSIGN(const std::string outer, config.word({"model_type"}));
  if (find_model(outer)) return config;
  // As transformers calls it, DeepSeek-VL and InternVL.
  for (const char* name : {"text_config", "language_config", "llm_config"}) {
    if (config.has(name)) return config.object(name);
  }
  return config;
}

Result<std::string> io_type(const ConfigReader& whole, const ConfigReader& language) {
  const bool nested = language.has("dtype") || language.has("torch_dtype");
  const ConfigReader& config = nested ? language : whole;
  KILN_TRY_ASSIGN(const std::string type, config.word_or({"dtype", "torch_dtype"}, "bfloat16"));
  if (type == "bfloat16") return "bf16";
  if (type == "float16") return "f16";
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: activations of type '{}'; bfloat16 and float16 are taken",
                          config.where(), type));
}

}  // namespace

std::string known_model_types() {
  std::string known;
  for (const KnownModel& model : kKnownModels) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", model.model_type);
  }
  return known;
}

Result<ModelNeeds> read_model_config(const std::filesystem::path& file,
                                     const ModelSettings& settings) {
  KILN_TRY_ASSIGN(const nlohmann::json parsed, read_json_object(file));
  const ConfigReader whole(parsed, "'" + file.string() + "'");
  KILN_TRY_ASSIGN(const ConfigReader given, language_model(whole));
  ModelNeeds needs;
  KILN_TRY_ASSIGN(needs.model_type, given.word({"model_type"}));
  const ConfigReader config = given.with_defaults(class_defaults(needs.model_type));
  const KnownModel* const model = find_model(needs.model_type);
  if (!model) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: unknown model_type '{}'; known: {}; for another model name the op "
                            "and its shape: jitctl prewarm OP name=value...",
                            config.where(), needs.model_type, known_model_types()));
  }
  KILN_TRY_ASSIGN(const std::string io, io_type(whole, config));
  Needs collected(config, settings, io);
  KILN_TRY(model->add(collected));
  needs.ops = std::move(collected).take();
  return needs;
}

}  // namespace kiln::cli
