// SPDX-License-Identifier: Apache-2.0
// parse_arguments: from name=value as a person writes them to typed parameters of an op.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "jit/base/did_you_mean.h"
#include "templates/attention_variant.h"
#include "templates/registry.h"

namespace kiln {
namespace {

std::string accepted_by(const ParamSpec& spec) {
  if (std::holds_alternative<bool>(spec.default_value)) return "true or false";
  if (std::holds_alternative<std::string>(spec.default_value)) {
    return fmt::format("{}", fmt::join(spec.choices, ", "));
  }
  return fmt::format("an integer from {} to {}", spec.min, spec.max);
}

tl::unexpected<Error> refused(const Op& op, const ParamSpec& spec, std::string_view value) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: {}={} is not accepted; {} ({}) takes {}", op.name, spec.name, value,
                          spec.name, spec.doc, accepted_by(spec)));
}

Result<ShapeValue> parse_value(const Op& op, const ParamSpec& spec, const std::string& value) {
  if (spec.is_variant) {
    const KnownAttentionVariant* const variant = find_attention_variant(value);
    if (variant) return ShapeValue(variant->word);
    return fail(ErrorCode::invalid_argument, unknown_attention_variant(op.name, value));
  }
  if (std::holds_alternative<bool>(spec.default_value)) {
    if (value == "true") return ShapeValue(true);
    if (value == "false") return ShapeValue(false);
    return refused(op, spec, value);
  }
  if (std::holds_alternative<std::string>(spec.default_value)) {
    if (std::find(spec.choices.begin(), spec.choices.end(), value) == spec.choices.end()) {
      return refused(op, spec, value);
    }
    return ShapeValue(value);
  }
  std::int64_t number = 0;
  const char* end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stopped != end || number < spec.min || number > spec.max) {
    return refused(op, spec, value);
  }
  return ShapeValue(number);
}

const ParamSpec* find_param(const std::vector<ParamSpec>& specs, std::string_view name) {
  const auto it = std::find_if(specs.begin(), specs.end(),
                               [&](const ParamSpec& spec) { return spec.name == name; });
  return it == specs.end() ? nullptr : &*it;
}

tl::unexpected<Error> unknown(const Op& op, std::string_view name) {
  std::vector<std::string_view> known;
  for (const ParamSpec& spec : op.shape_params) known.push_back(spec.name);
  for (const ParamSpec& spec : op.call_params) known.push_back(spec.name);
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} has no parameter '{}'{}; its parameters: {}", op.name, name,
                          did_you_mean(name, known), fmt::join(known, ", ")));
}

Shape defaults_of(const std::vector<ParamSpec>& specs) {
  Shape shape;
  for (const ParamSpec& spec : specs) shape.set(spec.name, spec.default_value);
  return shape;
}

Result<void> check_value(const Op& op, const ParamSpec& spec, const ShapeValue& value) {
  const auto refuse = [&](const std::string& why) {
    return fail(ErrorCode::invalid_argument, fmt::format("{}: shape parameter {}={} {}", op.name,
                                                         spec.name, to_text(value), why));
  };
  if (value.index() != spec.default_value.index()) return refuse("has another type");
  const auto* const word = std::get_if<std::string>(&value);
  if (!word) return {};
  if (spec.is_variant) {
    if (find_attention_variant(*word)) return {};
    return fail(ErrorCode::invalid_argument, unknown_attention_variant(op.name, *word));
  }
  if (std::find(spec.choices.begin(), spec.choices.end(), *word) != spec.choices.end()) return {};
  return refuse(fmt::format("takes {}", fmt::join(spec.choices, ", ")));
}

}  // namespace

Result<void> check_shape(const Op& op, const Shape& shape) {
  for (const Shape::Param& given : shape.params()) {
    const ParamSpec* const spec = find_param(op.shape_params, given.name);
    if (!spec) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{}: shape parameter {}={} is none of this op's", op.name, given.name,
                              to_text(given.value)));
    }
    KILN_TRY(check_value(op, *spec, given.value));
  }
  for (const ParamSpec& spec : op.shape_params) {
    if (shape.find(spec.name)) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the shape lacks {} ({}); parse_arguments() fills in defaults",
                            op.name, spec.name, spec.doc));
  }
  return {};
}

Result<OpArguments> parse_arguments(const Op& op, std::span<const NameValue> given) {
  OpArguments arguments{defaults_of(op.shape_params), defaults_of(op.call_params)};
  for (auto it = given.begin(); it != given.end(); ++it) {
    const auto& [name, text] = *it;
    const auto same_name = [&](const NameValue& other) { return other.first == name; };
    const auto earlier = std::find_if(given.begin(), it, same_name);
    if (earlier != it) {
      return fail(ErrorCode::invalid_argument, fmt::format("{}: {} is given twice: {} and {}",
                                                           op.name, name, earlier->second, text));
    }
    const ParamSpec* shape_param = find_param(op.shape_params, name);
    const ParamSpec* spec = shape_param ? shape_param : find_param(op.call_params, name);
    if (!spec) return unknown(op, name);
    KILN_TRY_ASSIGN(ShapeValue value, parse_value(op, *spec, text));
    (shape_param ? arguments.shape : arguments.call).set(name, std::move(value));
  }
  return arguments;
}

}  // namespace kiln
