// SPDX-License-Identifier: Apache-2.0
#include "runtime/packed_shape.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "templates/attention_variant.h"

namespace kiln {
namespace {

[[noreturn]] void end_on_bug(const std::string& message) {
  fmt::print(stderr, "kiln bug: {}\n", message);
  std::abort();
}

// `value` has passed check_shape().
std::int64_t number_of(const ParamSpec& param, const ShapeValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1 : 0;
  if (param.is_variant) return find_attention_variant(std::get<std::string>(value))->index;
  const auto word =
      std::find(param.choices.begin(), param.choices.end(), std::get<std::string>(value));
  return word - param.choices.begin();
}

// Numbers that stand for different texts of one list must differ.
std::uint64_t tag_unlike(const std::vector<std::uint64_t>& others, std::string_view text) {
  const std::uint64_t number = ShapeTag(text).number();
  if (number == 0 || std::find(others.begin(), others.end(), number) != others.end()) {
    end_on_bug(fmt::format("'{}' and another name or word have the same ShapeTag", text));
  }
  return number;
}

}  // namespace

std::vector<PackedShape::Tags> PackedShape::tags_of_all() {
  std::vector<Tags> all;
  for (const Op& op : ops()) {
    if (op.shape_params.size() > kParamsMax) {
      end_on_bug(fmt::format("op {} has {} shape parameters; PackedShape holds {}", op.name,
                             op.shape_params.size(), kParamsMax));
    }
    Tags& tags = all.emplace_back();
    std::vector<std::uint64_t> names;
    for (const ParamSpec& param : op.shape_params) {
      const std::size_t i = names.size();
      names.push_back(tags.names[i] = tag_unlike(names, param.name));
      for (const std::string& word : param.choices) {
        tags.choices[i].push_back(tag_unlike(tags.choices[i], word));
      }
      tags.defaults[i] = number_of(param, param.default_value);
    }
  }
  return all;
}

PackedShape::PackedShape(const Op& op) : op_(&op) {
  static const std::vector<Tags> tags = tags_of_all();
  tags_ = &tags[static_cast<std::size_t>(&op - ops().data())];
  values_ = tags_->defaults;
}

Result<PackedShape> PackedShape::of(const Op& op, const Shape& shape) {
  if (std::ranges::none_of(ops(), [&](const Op& known) { return &known == &op; })) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: an op that find_op() does not give", op.name));
  }
  KILN_TRY(check_shape(op, shape));
  PackedShape packed(op);
  for (const ParamSpec& param : op.shape_params) {
    packed.set(std::string_view(param.name), number_of(param, *shape.find(param.name)));
  }
  return packed;
}

std::size_t PackedShape::search(ShapeTag name) const {
  for (std::size_t i = 0; i < op_->shape_params.size(); ++i) {
    if (tags_->names[i] == name.number()) return i;
  }
  end_on_bug(fmt::format("op {} has no shape parameter '{}'", op_->name, name.text()));
}

void PackedShape::refuse_word(std::size_t index, ShapeTag word) const {
  end_on_bug(fmt::format("op {}: {} has no choice '{}'", op_->name, op_->shape_params[index].name,
                         word.text()));
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
    } else if (param.is_variant) {
      shape.set(param.name, attention_variant_at(value).word);
    } else {
      shape.set(param.name, param.choices[static_cast<std::size_t>(value)]);
    }
  }
  return shape;
}

std::uint64_t PackedShape::hash() const {
  return XXH3_64bits_withSeed(values_.data(), sizeof values_,
                              reinterpret_cast<std::uintptr_t>(op_));
}

}  // namespace kiln
