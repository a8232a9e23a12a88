// SPDX-License-Identifier: Apache-2.0
// Numbers, words and sizes: between Python and the rows of a binding.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdlib>

#include "runtime/python/binding.h"
#include "runtime/python/object.h"

namespace kiln::python {
namespace {

// "3", "-1" or nothing.
std::optional<int> parse_bound(std::string_view text) {
  int value = 0;
  const auto end = text.data() + text.size();
  if (std::from_chars(text.data(), end, value).ptr != end || text.empty()) return std::nullopt;
  return value;
}

}  // namespace

std::vector<Sizes> parse_sizes(const std::string& text) {
  std::vector<Sizes> all;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    const std::size_t open = word.find('[');
    const std::size_t colon = word.find(':');
    if (open == 0 || colon == std::string_view::npos || colon < open || word.back() != ']') {
      std::abort();  // a typing error in ops.cpp, met when the module is imported
    }
    all.push_back({std::string(word.substr(0, open)),
                   parse_bound(word.substr(open + 1, colon - open - 1)),
                   parse_bound(word.substr(colon + 1, word.size() - colon - 2))});
  }
  return all;
}

bool read_number(PyObject* object, float& out) {
  if (PyBool_Check(object) || (!PyFloat_Check(object) && !PyNumber_Check(object))) return false;
  const double number = PyFloat_AsDouble(object);
  if (PyErr_Occurred() != nullptr) return PyErr_Clear(), false;
  out = static_cast<float>(number);
  return std::isfinite(number) == std::isfinite(out);  // what float cannot hold is no value of it
}

bool read_number(PyObject* object, std::int64_t& out) {
  if (PyBool_Check(object) || !PyIndex_Check(object)) return false;
  const Object whole = Object::take(PyNumber_Index(object));
  out = whole ? PyLong_AsLongLong(whole.get()) : 0;
  return PyErr_Occurred() == nullptr || (PyErr_Clear(), false);
}

bool read_number(PyObject* object, int& out) {
  std::int64_t wide = 0;
  if (!read_number(object, wide) || wide < INT_MIN || wide > INT_MAX) return false;
  out = static_cast<int>(wide);
  return true;
}

bool read_number(PyObject* object, bool& out) {
  if (!PyBool_Check(object)) return false;
  out = object == Py_True;
  return true;
}

// The shortest decimal, as a float literal reads: 1e-06 and not 9.999999974752427e-07.
PyObject* number_object(float value) {
  return PyFloat_FromDouble(std::strtod(fmt::format("{}", value).c_str(), nullptr));
}
PyObject* number_object(std::int64_t value) {
  return PyLong_FromLongLong(value);
}
PyObject* number_object(int value) {
  return PyLong_FromLong(value);
}
PyObject* number_object(bool value) {
  return PyBool_FromLong(value ? 1 : 0);
}

std::optional<int> read_choice(PyObject* object, const Row& row) {
  if (!PyUnicode_Check(object)) return std::nullopt;
  int index = 0;
  for (const std::string& word : row.choices) {
    if (PyUnicode_CompareWithASCIIString(object, word.c_str()) == 0) return index;
    ++index;
  }
  return std::nullopt;
}

std::string list_choices(const std::vector<std::string>& choices) {
  return fmt::format("one of '{}'", fmt::join(choices, "', '"));
}

bool read_scalars(PyObject* object, VariantCall& call) {
  if (PyUnicode_Check(object) || PyBytes_Check(object)) return false;
  const Object items = Object::take(PySequence_Fast(object, ""));
  if (!items) return PyErr_Clear(), false;
  const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.get()));
  if (count > kVariantScalarsMax) return false;
  for (std::size_t i = 0; i < count; ++i) {
    PyObject* const item = PySequence_Fast_GET_ITEM(items.get(), static_cast<Py_ssize_t>(i));
    if (PyBool_Check(item)) return false;
    call.scalars[i] = PyFloat_AsDouble(item);
    if (PyErr_Occurred() != nullptr) return PyErr_Clear(), false;
  }
  call.scalars_count = count;
  return true;
}

}  // namespace kiln::python
