// SPDX-License-Identifier: Apache-2.0
#include "runtime/packed_shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace kiln {
namespace {

using Values = std::array<std::int64_t, PackedShape::kParamsMax>;

[[noreturn]] void end_on_bug(const std::string& message) {
  fmt::print(stderr, "kiln bug: {}\n", message);
  std::abort();
}

Answer check_value(const ParamSpec& param, const ShapeValue& value) {
  if (value.index() != param.default_value.index()) return Answer::no("has another type");
  const auto* word = std::get_if<std::string>(&value);
  if (!word) return Answer::yes();
  if (std::find(param.choices.begin(), param.choices.end(), *word) != param.choices.end()) {
    return Answer::yes();
  }
  return Answer::no(fmt::format("takes {}", fmt::join(param.choices, ", ")));
}

// `value` has passed check_value.
std::int64_t number_of(const ParamSpec& param, const ShapeValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1 : 0;
  const auto word =
      std::find(param.choices.begin(), param.choices.end(), std::get<std::string>(value));
  return word - param.choices.begin();
}

std::vector<Values> defaults_of_all() {
  std::vector<Values> all;
  for (const Op& op : ops()) {
    if (op.shape_params.size() > PackedShape::kParamsMax) {
      end_on_bug(fmt::format("op {} has {} shape parameters; PackedShape holds {}", op.name,
                             op.shape_params.size(), PackedShape::kParamsMax));
    }
    Values& values = all.emplace_back();
    std::size_t i = 0;
    for (const ParamSpec& param : op.shape_params) {
      values[i++] = number_of(param, param.default_value);
    }
  }
  return all;
}

}  // namespace

PackedShape::PackedShape(const Op& op) : op_(&op) {
  static const std::vector<Values> defaults = defaults_of_all();
  values_ = defaults[static_cast<std::size_t>(&op - ops().data())];
}

Result<PackedShape> PackedShape::of(const Op& op, const Shape& shape) {
  const auto bad = [&](const Shape::Param& given, const std::string& why) {
    return fail(ErrorCode::invalid_argument, fmt::format("{}: shape parameter {}={} {}", op.name,
                                                         given.name, to_text(given.value), why));
  };
  PackedShape packed(op);
  for (const Shape::Param& given : shape.params()) {
    const auto param = std::find_if(op.shape_params.begin(), op.shape_params.end(),
                                    [&](const ParamSpec& each) { return each.name == given.name; });
    if (param == op.shape_params.end()) return bad(given, "is none of this op's");
    if (const Answer answer = check_value(*param, given.value); !answer) {
      return bad(given, answer.reason());
    }
    packed.set(given.name, number_of(*param, given.value));
  }
  for (const ParamSpec& param : op.shape_params) {
    if (shape.find(param.name)) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the shape lacks {} ({}); parse_arguments() fills in defaults",
                            op.name, param.name, param.doc));
  }
  return packed;
}

std::size_t PackedShape::index_of(std::string_view name) {
  const auto& params = op_->shape_params;
  for (std::size_t tried = 0; tried < params.size(); ++tried, ++next_) {
    if (next_ == params.size()) next_ = 0;
    if (params[next_].name == name) return next_++;
  }
  end_on_bug(fmt::format("op {} has no shape parameter '{}'", op_->name, name));
}

void PackedShape::set_word(std::string_view name, std::string_view word) {
  const std::size_t index = index_of(name);
  const auto& choices = op_->shape_params[index].choices;
  const auto found = std::find(choices.begin(), choices.end(), word);
  if (found == choices.end()) {
    end_on_bug(fmt::format("op {}: {} has no choice '{}'", op_->name, name, word));
  }
  values_[index] = found - choices.begin();
}

Shape PackedShape::shape() const {
  Shape shape;
  std::size_t i = 0;
  for (const ParamSpec& param : op_->shape_params) {
    const std::int64_t value = values_[i++];
    if (std::holds_alternative<std::int64_t>(param.default_value)) {
      shape.set(param.name, value);
    } else if (std::holds_alternative<bool>(param.default_value)) {
      shape.set(param.name, value != 0);
    } else {
      shape.set(param.name, param.choices[static_cast<std::size_t>(value)]);
    }
  }
  return shape;
}

std::uint64_t PackedShape::hash() const {
  return XXH3_64bits_withSeed(values_.data(), op_->shape_params.size() * sizeof values_[0],
                              reinterpret_cast<std::uintptr_t>(op_));
}

}  // namespace kiln
