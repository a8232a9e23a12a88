// SPDX-License-Identifier: Apache-2.0
// PackedShape: a Shape as numbers, which a hot call can fill, hash and compare without allocating.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "templates/registry.h"

namespace kiln {

// A name or a word of a shape as a number: a hot call compares numbers, not text. The compiler
// makes it from a literal.
class ShapeTag {
 public:
  template <std::size_t size>
  consteval ShapeTag(const char (&text)[size]) : ShapeTag(std::string_view(text, size - 1)) {}
  constexpr ShapeTag(std::string_view text) : text_(text) {
    for (const char c : text) number_ = (number_ ^ static_cast<unsigned char>(c)) * kFnvPrime;
  }

  constexpr std::uint64_t number() const { return number_; }
  constexpr std::string_view text() const { return text_; }

 private:
  static constexpr std::uint64_t kFnvPrime = 0x100000001b3;  // FNV-1a, 64 bits

  std::uint64_t number_ = 0xcbf29ce484222325;
  std::string_view text_;
};

// One number for each shape parameter of an op, in the op's order: the integer itself, a switch as
// 0 or 1, a word as its index among the choices, a variant as its index among those known.
class PackedShape {
 public:
  static constexpr std::size_t kParamsMax = 16;

  // The op's defaults. `op` is one of ops().
  explicit PackedShape(const Op& op);
  // Errors: invalid_argument for a parameter that is missing, unknown, of another type or no
  // choice.
  static Result<PackedShape> of(const Op& op, const Shape& shape);

  // A name or word that the op does not have is a bug in the caller and ends the program. Quickest
  // in the op's own order.
  void set(ShapeTag name, std::int64_t value) { values_[index_of(name)] = value; }
  void set_word(ShapeTag name, ShapeTag word) {
    const std::size_t index = index_of(name);
    const std::vector<std::uint64_t>& choices = tags_->choices[index];
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (choices[i] != word.number()) continue;
      values_[index] = static_cast<std::int64_t>(i);
      return;
    }
    refuse_word(index, word);
  }

  const Op& op() const { return *op_; }
  Shape shape() const;
  std::uint64_t hash() const;

  friend bool operator==(const PackedShape& a, const PackedShape& b) {
    if (a.op_ != b.op_) return false;
    return a.values_ == b.values_;  // all of an op's: the rest is 0
  }

 private:
  using Values = std::array<std::int64_t, kParamsMax>;
  // What an op's parameters and their choices are called.
  struct Tags {
    Values defaults{};
    std::array<std::uint64_t, kParamsMax + 1> names{};  // 0 ends them
    std::array<std::vector<std::uint64_t>, kParamsMax> choices;
  };
  static std::vector<Tags> tags_of_all();

  std::size_t index_of(ShapeTag name) {
    if (tags_->names[next_] != name.number()) next_ = search(name);
    return next_++;
  }
  std::size_t search(ShapeTag name) const;
  [[noreturn]] void refuse_word(std::size_t index, ShapeTag word) const;

  const Op* op_;
  const Tags* tags_;
  std::size_t next_ = 0;  // where the next name most likely is
  Values values_;
};

}  // namespace kiln
