// SPDX-License-Identifier: Apache-2.0
#include "tools/variant_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "jit/base/text_file.h"
#include "templates/attention_variant.h"

namespace kiln::cli {
namespace {

using Json = nlohmann::json;

// "f32 slopes" or "f32 dump written".
AttentionVariant::Tensor tensor_of(const std::string& text) {
  const std::size_t space = text.find(' ');
  AttentionVariant::Tensor tensor;
  tensor.type = text.substr(0, space);
  if (space != std::string::npos) tensor.name = text.substr(space + 1);
  constexpr std::string_view kWritten = " written";
  tensor.written = tensor.name.ends_with(kWritten);
  if (tensor.written) tensor.name.resize(tensor.name.size() - kWritten.size());
  return tensor;
}

// Throws Json::exception for a member of the wrong type.
AttentionVariant variant_of(const Json& object) {
  AttentionVariant variant;
  for (const auto& [name, value] : object.items()) {
    if (name == "name")
      variant.name = value.get<std::string>();
    else if (name == "doc")
      variant.doc = value.get<std::string>();
    else if (name == "logits")
      variant.logits = value.get<std::string>();
    else if (name == "mask")
      variant.mask = value.get<std::string>();
    else if (name == "sink")
      variant.sink = value.get<std::string>();
    else if (name == "softmax")
      variant.softmax = value.get<bool>();
    else if (name == "tensors") {
      for (const auto& one : value) variant.tensors.push_back(tensor_of(one.get<std::string>()));
    } else if (name == "scalars") {
      for (const auto& one : value) {
        AttentionVariant::Tensor scalar = tensor_of(one.get<std::string>());
        variant.scalars.push_back({scalar.name, scalar.type});
      }
    } else {
      throw std::runtime_error(fmt::format(
          "unknown member '{}'; it takes name, doc, logits, mask, sink, softmax, tensors, scalars",
          name));
    }
  }
  return variant;
}

}  // namespace

Result<void> add_variant_file(const std::string& file) {
  KILN_TRY_ASSIGN(const std::string text, read_text_file(file));
  AttentionVariant variant;
  try {
    variant = variant_of(Json::parse(text));
  } catch (const std::exception& exception) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("--variant '{}': {}", file, exception.what()));
  }
  KILN_TRY(add_attention_variant(std::move(variant)));
  return {};
}

}  // namespace kiln::cli
