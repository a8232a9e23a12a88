// SPDX-License-Identifier: Apache-2.0
// The attention variants of the C interface. A handle is the KnownAttentionVariant itself, which
// stays to the end of the process.
#include "runtime/c_support.h"

using namespace kiln;
using namespace kiln::c;

namespace {

std::string text_of(const char* text) {
  return text ? text : "";
}

Result<AttentionVariant> variant_of(const kiln_attention_variant_definition& given) {
  if (!given.name) return is_null("name");
  if (!given.tensors && given.tensors_count > 0) return is_null("tensors");
  if (!given.scalars && given.scalars_count > 0) return is_null("scalars");
  AttentionVariant variant;
  variant.name = given.name;
  variant.logits = text_of(given.logits);
  variant.mask = text_of(given.mask);
  variant.sink = text_of(given.sink);
  variant.softmax = given.no_softmax == 0;
  for (std::size_t i = 0; i < given.tensors_count; ++i) {
    constexpr std::string_view kWritten = " written";
    std::string type = text_of(given.tensors[i].value);
    const bool written = type.ends_with(kWritten);
    if (written) type.resize(type.size() - kWritten.size());
    variant.tensors.push_back({text_of(given.tensors[i].name), std::move(type), written});
  }
  for (std::size_t i = 0; i < given.scalars_count; ++i) {
    variant.scalars.push_back({text_of(given.scalars[i].name), text_of(given.scalars[i].value)});
  }
  return variant;
}

void give(const KnownAttentionVariant* variant, const kiln_attention_variant** out) {
  *out = reinterpret_cast<const kiln_attention_variant*>(variant);
}

}  // namespace

extern "C" {

kiln_status kiln_attention_variant_add(const kiln_attention_variant_definition* definition,
                                       const kiln_attention_variant** out) {
  return guard([&]() -> Result<void> {
    if (!out) return is_null("out");
    KILN_TRY_ASSIGN(const auto given, read_struct(definition, "kiln_attention_variant_definition"));
    KILN_TRY_ASSIGN(AttentionVariant variant, variant_of(given));
    KILN_TRY_ASSIGN(const KnownAttentionVariant* const known,
                    add_attention_variant(std::move(variant)));
    give(known, out);
    return {};
  });
}

kiln_status kiln_attention_variant_find(const char* name, const kiln_attention_variant** out) {
  return guard([&]() -> Result<void> {
    if (!out) return is_null("out");
    if (!name) return is_null("name");
    const KnownAttentionVariant* const known = find_attention_variant(name);
    if (!known) {
      return fail(ErrorCode::invalid_argument, unknown_attention_variant("attention", name));
    }
    give(known, out);
    return {};
  });
}
}
