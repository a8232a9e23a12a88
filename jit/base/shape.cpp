// SPDX-License-Identifier: Apache-2.0
#include "jit/base/shape.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace kiln {
namespace {

template <class T>
const T& expect(const Shape& shape, std::string_view name, const char* type) {
  const ShapeValue* value = shape.find(name);
  if (value && std::holds_alternative<T>(*value)) return std::get<T>(*value);
  fmt::print(stderr, "kiln bug: shape '{}' has no {} '{}'\n", shape.text(), type, name);
  std::abort();
}

}  // namespace

std::string to_text(const ShapeValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  return std::get<std::string>(value);
}

void Shape::set(std::string_view name, ShapeValue value) {
  for (Param& param : params_) {
    if (param.name == name) {
      param.value = std::move(value);
      return;
    }
  }
  params_.push_back({std::string(name), std::move(value)});
}

const ShapeValue* Shape::find(std::string_view name) const {
  // On the launch path: the first letter and the length tell most names apart without a call.
  const char first = name.empty() ? '\0' : name.front();
  for (const Param& param : params_) {
    if (param.name.size() != name.size() || param.name[0] != first) continue;
    if (param.name == name) return &param.value;
  }
  return nullptr;
}

std::int64_t Shape::integer(std::string_view name) const {
  return expect<std::int64_t>(*this, name, "integer");
}
bool Shape::flag(std::string_view name) const {
  return expect<bool>(*this, name, "switch");
}
const std::string& Shape::word(std::string_view name) const {
  return expect<std::string>(*this, name, "word");
}

std::string Shape::text() const {
  std::string out;
  for (const Param& param : params_) {
    if (!out.empty()) out += ' ';
    out += param.name + '=' + to_text(param.value);
  }
  return out;
}

Record Shape::record() const {
  static constexpr const char* kTypes[] = {"int", "bool", "word"};
  Record record;
  for (const Param& param : params_) {
    record.add(param.name, fmt::format("{} {}", kTypes[param.value.index()], to_text(param.value)));
  }
  return record;
}

}  // namespace kiln
