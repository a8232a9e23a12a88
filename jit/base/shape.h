// SPDX-License-Identifier: Apache-2.0
// Shape: what is fixed at compile time for one op, as typed name=value pairs in a fixed order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "jit/base/export.h"
#include "jit/base/record.h"

namespace kiln {

// An integer, a switch, or one of a set of words ("bf16", "softplus").
using ShapeValue = std::variant<std::int64_t, bool, std::string>;

KILN_API std::string to_text(const ShapeValue& value);

class KILN_API Shape {
 public:
  struct Param {
    std::string name;
    ShapeValue value;
    friend bool operator==(const Param&, const Param&) = default;
  };

  // Replaces the value of a parameter that is there, else appends one.
  void set(std::string_view name, ShapeValue value);

  const std::vector<Param>& params() const { return params_; }
  // Null when there is no such parameter.
  const ShapeValue* find(std::string_view name) const;

  // The value of a parameter that the op's specification guarantees; a wrong name or type is a bug
  // in the caller and ends the program.
  std::int64_t integer(std::string_view name) const;
  bool flag(std::string_view name) const;
  const std::string& word(std::string_view name) const;

  // "H=8 HV=8 K=128": for people and command lines.
  std::string text() const;
  // Values carry their type ("int 8", "bool true", "word bf16"), so that 1, true and "1" differ.
  Record record() const;

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::vector<Param> params_;
};

}  // namespace kiln
