// SPDX-License-Identifier: Apache-2.0
// PackedShape: a Shape as numbers, which a hot call can fill, hash and compare without allocating.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "templates/registry.h"

namespace kiln {

// One number for each shape parameter of an op, in the op's order: the integer itself, a switch as
// 0 or 1, a word as its index among the choices.
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
  void set(std::string_view name, std::int64_t value) { values_[index_of(name)] = value; }
  void set_word(std::string_view name, std::string_view word);

  const Op& op() const { return *op_; }
  Shape shape() const;
  std::uint64_t hash() const;

  friend bool operator==(const PackedShape& a, const PackedShape& b) {
    if (a.op_ != b.op_) return false;
    for (std::size_t i = 0; i < a.op_->shape_params.size(); ++i) {
      if (a.values_[i] != b.values_[i]) return false;
    }
    return true;
  }

 private:
  std::size_t index_of(std::string_view name);

  const Op* op_;
  std::size_t next_ = 0;  // where the next name most likely is
  std::array<std::int64_t, kParamsMax> values_{};
};

}  // namespace kiln
