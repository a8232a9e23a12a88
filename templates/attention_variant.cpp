// SPDX-License-Identifier: Apache-2.0
#include "templates/attention_variant.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <mutex>

#include "jit/base/did_you_mean.h"
#include "jit/base/digest.h"
#include "jit/base/record.h"
#include "templates/attention_variant_check.h"

namespace kiln {
namespace {

std::vector<AttentionVariant> shipped_definitions() {
  std::vector<AttentionVariant> all(5);
  all[0].name = "none";
  all[0].doc = "softmax attention";
  all[1].name = "sigmoid";
  all[1].doc = "sigmoid attention: the weight of a key is sigmoid(logit + bias)";
  all[1].logits = "sigmoid(logit + bias)";
  all[1].softmax = false;
  all[1].scalars = {{"bias", "f32"}};
  all[2].name = "sink";
  all[2].doc = "attention sink: one more logit per query head in the softmax, without a value";
  all[2].sink = "sinks[qo_head_idx]";
  all[2].tensors = {{"sinks", "f32"}};  // [Hq]
  all[3].name = "document";
  all[3].doc = "document mask: a query sees the keys of its own document";
  all[3].mask = "q_documents[qo_token] == kv_documents[kv_token]";
  all[3].tensors = {{"q_documents", "i32"}, {"kv_documents", "i32"}};  // [rows of q], [rows of k]
  all[4].name = "logits_dump";
  all[4].doc = "logits dump: writes each logit that counts, too";
  all[4].logits = "logits.put((qo_token * num_qo_heads + qo_head_idx) * kv_stride + kv_idx, logit)";
  all[4].tensors = {{"logits", "f32", true}};  // [rows of q, Hq, kv_stride]
  all[4].scalars = {{"kv_stride", "i32"}};
  return all;
}

Record record_of(const AttentionVariant& variant) {
  Record record;
  record.add("name", variant.name);
  record.add("logits", variant.logits);
  record.add("mask", variant.mask);
  record.add("sink", variant.sink);
  record.add("softmax", variant.softmax ? "true" : "false");
  for (const auto& tensor : variant.tensors) {
    record.add("tensor",
               fmt::format("{} {}{}", tensor.type, tensor.name, tensor.written ? " written" : ""));
  }
  for (const auto& scalar : variant.scalars) {
    record.add("scalar", fmt::format("{} {}", scalar.type, scalar.name));
  }
  return record;
}

// Grows and never shrinks, so that what was given out stays.
class Known {
 public:
  Known() {
    for (AttentionVariant& variant : shipped_definitions()) {
      std::string word = variant.name;
      shipped_.push_back(append(std::move(variant), std::move(word)));
    }
  }
  const KnownAttentionVariant* add(AttentionVariant variant) {
    const Digest digest = record_of(variant).digest();
    const std::lock_guard lock(mutex_);
    for (const KnownAttentionVariant& one : all_) {
      if (record_of(one.definition).digest() == digest) return &one;
    }
    std::string word = fmt::format("{}@{}", variant.name, digest.short_hex());
    return append(std::move(variant), std::move(word));
  }
  const KnownAttentionVariant* find(std::string_view text) const {
    const std::lock_guard lock(mutex_);
    for (const KnownAttentionVariant& one : all_) {
      if (one.word == text) return &one;
    }
    const auto named = std::find_if(all_.rbegin(), all_.rend(),
                                    [&](const auto& one) { return one.definition.name == text; });
    return named == all_.rend() ? nullptr : &*named;
  }
  const KnownAttentionVariant& at(std::int64_t index) const {
    const std::lock_guard lock(mutex_);
    return all_.at(static_cast<std::size_t>(index));
  }
  std::span<const KnownAttentionVariant* const> shipped() const { return shipped_; }

 private:
  const KnownAttentionVariant* append(AttentionVariant variant, std::string word) {
    const auto index = static_cast<std::int64_t>(all_.size());
    return &all_.emplace_back(KnownAttentionVariant{std::move(variant), std::move(word), index});
  }

  mutable std::mutex mutex_;
  std::deque<KnownAttentionVariant> all_;
  std::vector<const KnownAttentionVariant*> shipped_;
};

Known& known() {
  static Known instance;
  return instance;
}

const char* device_type(std::string_view type) {
  return type == "f32"   ? "float"
         : type == "i32" ? "i32"
         : type == "u8"  ? "u8"
         : type == "f16" ? "f16"
                         : "bf16";
}

// Tensors and scalars by their names.
std::string bindings(const AttentionVariant& variant) {
  std::string text;
  for (std::size_t i = 0; i < variant.tensors.size(); ++i) {
    const auto& tensor = variant.tensors[i];
    text += fmt::format("  [[maybe_unused]] const VariantTensor<{}> {}(kiln_params.tensors[{}]);\n",
                        device_type(tensor.type), tensor.name, i);
  }
  for (std::size_t i = 0; i < variant.scalars.size(); ++i) {
    const auto& scalar = variant.scalars[i];
    const char* const type = device_type(scalar.type);
    text +=
        fmt::format("  [[maybe_unused]] const {0} {1} = bit_cast<{0}>(kiln_params.scalars[{2}]);\n",
                    type, scalar.name, i);
  }
  return text;
}

struct Hook {
  const char* name;
  const char* type;
  const char* parameter;  // beyond params and place
  const char* otherwise;  // where the variant has none
};

// The expression begins a line of its own, and `#line` gives it its own name: places in compilers'
// messages are then places in the caller's text.
std::string hook_text(const AttentionVariant& variant, const Hook& hook, const std::string& text) {
  std::string out = fmt::format("inline constexpr bool has_{} = {};\n", hook.name, !text.empty());
  out += fmt::format(
      "KILN_DEVICE {} {}([[maybe_unused]] const AttentionVariantParams& kiln_params,\n"
      "    [[maybe_unused]] const VariantPlace& kiln_place{}) {{\n",
      hook.type, hook.name, hook.parameter);
  if (text.empty()) return out + fmt::format("  return {};\n}}\n", hook.otherwise);
  for (const std::string_view name : kAttentionVariantPlaces) {
    out += fmt::format("  [[maybe_unused]] const auto {0} = kiln_place.{0};\n", name);
  }
  out += "  [[maybe_unused]] constexpr int num_qo_heads = shape::Hq, num_kv_heads = shape::Hkv;\n";
  out += bindings(variant);
  out += fmt::format("  return static_cast<{}>(\n#line 1 \"{}.{}\"\n{}\n", hook.type, variant.name,
                     hook.name, text);
  const auto lines = std::count(out.begin(), out.end(), '\n');
  return out + fmt::format("#line {} \"kiln/variant.h\"\n  );\n}}\n", lines + 2);
}

}  // namespace

Result<const KnownAttentionVariant*> add_attention_variant(AttentionVariant definition) {
  KILN_TRY(check_attention_variant(definition));
  return known().add(std::move(definition));
}
const KnownAttentionVariant* find_attention_variant(std::string_view word_or_name) {
  return known().find(word_or_name);
}
const KnownAttentionVariant& attention_variant_at(std::int64_t index) {
  return known().at(index);
}
std::span<const KnownAttentionVariant* const> shipped_attention_variants() {
  return known().shipped();
}

std::string unknown_attention_variant(std::string_view op, std::string_view word) {
  std::vector<std::string_view> names;
  for (const KnownAttentionVariant* one : known().shipped()) names.push_back(one->word);
  return fmt::format(
      "{}: variant={} is not known to this process{}; shipped ones are {}; those of a caller's own "
      "are added first (add_attention_variant, 'jitctl --variant FILE')",
      op, word, did_you_mean(word, names), fmt::join(names, ", "));
}

SourceText attention_variant_header(const KnownAttentionVariant& known) {
  const AttentionVariant& variant = known.definition;
  std::string text =
      "#pragma once\n#include \"kiln/shape.h\"\nnamespace kiln {\nnamespace variant {\n";
  text += fmt::format("inline constexpr bool softmax = {};\n", variant.softmax);
  text += hook_text(variant, {"logits", "float", ", [[maybe_unused]] float logit", "logit"},
                    variant.logits);
  text += hook_text(variant, {"mask", "bool", "", "true"}, variant.mask);
  text += hook_text(variant, {"sink", "float", "", "0.0f"}, variant.sink);
  return {"kiln/variant.h", text + "}\n}\n"};
}

}  // namespace kiln
