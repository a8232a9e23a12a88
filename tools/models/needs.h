// SPDX-License-Identifier: Apache-2.0
// What a model needs of Kiln, and the parts that model families have in common.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "templates/registry.h"
#include "tools/models/config_reader.h"

namespace kiln::cli {

// One op that the model needs at one shape.
struct ModelNeed {
  std::string op;
  std::vector<NameValue> shape;  // the parameters that the model fixes; the rest are the op's own
  std::string used_for;          // "KDA layers, 20 of 27"
};

// What an engine is told beside the model.
struct ModelSettings {
  int tensor_parallel = 1;         // ranks that share the heads
  std::string state_type = "f32";  // of KDA and GDN states: f32, bf16
  std::string kv_type = "auto";    // of the KV cache: auto (as the activations), bf16, f16, e4m3...
};

// The needs of one model, as they are collected.
class Needs {
 public:
  // `io_type`: type of the activations, bf16 or f16.
  Needs(const ConfigReader& config, const ModelSettings& settings, std::string io_type)
      : config_(config), settings_(settings), io_(std::move(io_type)) {}

  const ConfigReader& config() const { return config_; }
  int ranks() const { return settings_.tensor_parallel; }

  // Linear attention with a state: `gate` as in kda_decode's shape.
  struct Linear {
    std::int64_t key_heads, value_heads, key_size, value_size;  // heads of one rank
    const char* gate;
  };
  void add_linear_attention(const Linear& linear, const std::string& use);

  // Grouped-query attention by num_attention_heads, num_key_value_heads and head_dim.
  struct Grouped {
    std::int64_t q_heads, kv_heads, head_size;  // of one rank
  };
  Result<Grouped> read_grouped_attention() const;
  // Decode, prefill of a whole prompt, and of a chunk of one over the paged cache.
  void add_grouped_attention(const Grouped& grouped, const std::string& use);
  // Norms of each head's query and key; Gemma's form of the weight is 1 + w.
  enum class NormWeight { plain, one_plus };
  void add_head_norms(std::int64_t head_size, NormWeight weight, const std::string& use);

  // Multi-head latent attention: decode over the shared latent, prefill with expanded heads; the
  // norms of both latents where queries have one too.
  Result<void> add_latent_attention(const std::string& use);

  // The router of a mixture of experts with its gate, which are not split over ranks, and what
  // follows them. Nothing for a model without experts. Routers with a correction (DeepSeek's) may
  // choose among groups, and their configs name the scores.
  enum class Router { softmax, corrected };
  Result<void> add_experts(Router router);

  // What Kiln has no op for, under the name that it would have.
  void add_missing(const char* op, const std::string& use) { needs_.push_back({op, {}, use}); }

  std::vector<ModelNeed> take() && { return std::move(needs_); }

 private:
  void add(const char* op, std::vector<NameValue> shape, const std::string& use);
  std::string kv_type() const { return settings_.kv_type == "auto" ? io_ : settings_.kv_type; }

  const ConfigReader& config_;
  const ModelSettings& settings_;
  std::string io_;
  std::vector<ModelNeed> needs_;
};

// "KDA layers, 20 of 27"
std::string layers_text(const char* kind, std::int64_t count, std::int64_t of);

// The families: each adds what a model of its kind needs. Errors: those of ConfigReader.
Result<void> add_deepseek(Needs& needs);     // DeepSeek-V3, Kimi-K2
Result<void> add_kimi_linear(Needs& needs);  // KDA and MLA layers
Result<void> add_llama(Needs& needs);
Result<void> add_qwen3(Needs& needs);       // dense or with experts
Result<void> add_qwen3_next(Needs& needs);  // GDN and gated attention layers

}  // namespace kiln::cli
