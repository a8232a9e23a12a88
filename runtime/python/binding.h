// SPDX-License-Identifier: Apache-2.0
// An op as Python sees it: one row for each argument of its C++ struct. From the rows come the
// parsing of a call, the outputs that are allocated, the torch operator, its fake kernel and the
// signature. An argument is added with one line in ops.cpp.
#pragma once

#include <Python.h>

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "kiln/attention_variant.h"
#include "kiln/runtime.h"
#include "runtime/python/tensor.h"

namespace kiln::python {

// Twice what any variant has: a call with too many is told what its variant takes.
inline constexpr std::size_t kVariantTensorsMax = 8;
inline constexpr std::size_t kVariantScalarsMax = 8;

enum class Role {
  input,   // read
  weight,  // read; may require grad
  update,  // read and written in place
  output,  // written; allocated where it is not given
  // Written where it is asked for: by a tensor, or by True, which allocates one.
  extra_output,
  workspace,  // allocated where it is not given and needed
  value,      // a number, or a switch
  choice,     // one word of several
  variant,    // of attention: a kiln.AttentionVariant, or the name of one
  variant_tensors,
  variant_scalars,
};

// Where an output's sizes come from: "q[:-1] v[-1:]" are all but the last of q and the last of v.
struct Sizes {
  std::string tensor;
  std::optional<int> first;
  std::optional<int> last;
};

// An attention variant as a call gives it: AttentionVariantArgs with the memory of its spans.
struct VariantCall {
  const KnownAttentionVariant* variant = nullptr;
  std::size_t tensors_count = 0;
  std::size_t scalars_count = 0;
  DLTensor tensors[kVariantTensorsMax] = {};
  double scalars[kVariantScalarsMax] = {};

  AttentionVariantArgs args() const {
    return {variant, {tensors, tensors_count}, {scalars, scalars_count}};
  }
};

struct Row {
  std::string name;
  Role role = Role::input;
  bool optional = false;
  // input ... workspace: puts the tensor into the struct of arguments.
  void (*set_tensor)(void* args, const DLTensor& tensor) = nullptr;
  // value, choice, variant, variant_scalars: false where `value` is not what `expected` says.
  bool (*set_value)(void* args, PyObject* value, const Row& row) = nullptr;
  std::string expected;
  // value, choice: the default, as a new reference.
  PyObject* (*default_value)(const void* args, const Row& row) = nullptr;
  const char* type = "";             // value: "float", "int", "bool"
  std::vector<std::string> choices;  // in the order of the enum

  // Outputs: the type is that of another tensor, or f32 or i32; e4m3 in a call that has the output
  // `e4m3_with`.
  std::string type_from;
  std::string e4m3_with;
  std::vector<Sizes> sizes;
  // extra_output: the value that asks for it too, and how many columns follow its sizes then.
  std::string asked_by;
  std::int64_t (*columns)(const void* args) = nullptr;
  // variant_tensors: where the call's struct has the variant, and room for tensors.
  VariantCall* (*variant_of)(void* args) = nullptr;
  // workspace: how many floats.
  Result<std::int64_t> (*workspace_floats)(const void* args) = nullptr;

  PyObject* key = nullptr;  // the name, interned
};

struct Binding {
  const char* name;
  const char* doc;
  std::vector<Row> rows;
  std::size_t args_bytes;
  void (*construct)(void* storage);
  Result<void> (*launch)(Runtime& runtime, const void* args, const CallOptions& options);
};

// Rows that may be given by position: those before the first that has a default to leave alone.
std::size_t positional_rows(const Binding& binding);

// All ops, their keys interned.
const std::vector<Binding>& bindings();

// The call of one op, as METH_FASTCALL | METH_KEYWORDS; `self` is a capsule that holds a Binding.
PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);

// "q[:-1] v[-1:]" taken apart; ends the program where it is not understood.
std::vector<Sizes> parse_sizes(const std::string& text);

// Whether `object` fits the number; false leaves no error set.
bool read_number(PyObject* object, float& out);
bool read_number(PyObject* object, std::int64_t& out);
bool read_number(PyObject* object, int& out);
bool read_number(PyObject* object, bool& out);
PyObject* number_object(float value);
PyObject* number_object(std::int64_t value);
PyObject* number_object(int value);
PyObject* number_object(bool value);
// The index of the word in row.choices; none where it is none of them.
std::optional<int> read_choice(PyObject* object, const Row& row);
std::string list_choices(const std::vector<std::string>& choices);
// Of a kiln.AttentionVariant, or of a name that this process knows; null where it is neither.
const KnownAttentionVariant* read_variant(PyObject* object);
// A sequence of numbers; false where it is none, or longer than any variant has.
bool read_scalars(PyObject* object, VariantCall& call);

template <class T>
constexpr const char* type_word() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_floating_point_v<T>) return "float";
  return "int";
}

template <class T>
struct Bare {
  using Type = T;
};
template <class T>
struct Bare<std::optional<T>> {
  using Type = T;
};

// The member that a path of pointers to members leads to: &A::rope, &QkRope::cos.
template <auto... Path>
struct Field;
template <class Args, class T, T Args::*Member>
struct Field<Member> {
  using Type = T;
  static T& of(void* args) { return static_cast<Args*>(args)->*Member; }
  static const T& of(const void* args) { return static_cast<const Args*>(args)->*Member; }
};
// A struct on the way that is missing reads as its defaults, and is made where one is written.
template <auto First, auto Second, auto... Rest>
struct Field<First, Second, Rest...> {
  using Outer = typename Field<First>::Type;
  using Inner = Field<Second, Rest...>;
  using Type = typename Inner::Type;
  static Type& of(void* args) {
    Outer& outer = Field<First>::of(args);
    if constexpr (std::is_same_v<Outer, typename Bare<Outer>::Type>) {
      return Inner::of(static_cast<void*>(&outer));
    } else {
      if (!outer) outer.emplace();
      return Inner::of(static_cast<void*>(&*outer));
    }
  }
  static const Type& of(const void* args) {
    const Outer& outer = Field<First>::of(args);
    if constexpr (std::is_same_v<Outer, typename Bare<Outer>::Type>) {
      return Inner::of(static_cast<const void*>(&outer));
    } else {
      static const typename Bare<Outer>::Type defaults{};
      return Inner::of(static_cast<const void*>(outer ? &*outer : &defaults));
    }
  }
};

template <auto... Path>
Row tensor(const char* name, Role role, bool optional) {
  Row row;
  row.name = name;
  row.role = role;
  row.optional = optional;
  row.set_tensor = [](void* args, const DLTensor& given) { Field<Path...>::of(args) = given; };
  return row;
}
template <auto... Path>
Row input(const char* name) {
  return tensor<Path...>(name, Role::input, false);
}
template <auto... Path>
Row optional_input(const char* name) {
  return tensor<Path...>(name, Role::input, true);
}
template <auto... Path>
Row weight(const char* name) {
  return tensor<Path...>(name, Role::weight, false);
}
template <auto... Path>
Row optional_weight(const char* name) {
  return tensor<Path...>(name, Role::weight, true);
}
template <auto... Path>
Row update(const char* name) {
  return tensor<Path...>(name, Role::update, false);
}
template <auto... Path>
Row optional_update(const char* name) {
  return tensor<Path...>(name, Role::update, true);
}
// Of the type of tensor `type_from`, or "f32" or "i32", of the sizes that `sizes` says.
template <auto... Path>
Row output(const char* name, const char* type_from, const char* sizes) {
  Row row = tensor<Path...>(name, Role::output, true);
  row.type_from = type_from;
  row.sizes = parse_sizes(sizes);
  return row;
}
template <auto... Path>
Row extra_output(const char* name, const char* type_from, const char* sizes) {
  Row row = output<Path...>(name, type_from, sizes);
  row.role = Role::extra_output;
  return row;
}
template <auto... Path>
Row columns_output(const char* name, const char* type, const char* sizes, const char* asked_by,
                   std::int64_t (*columns)(const void* args)) {
  Row row = extra_output<Path...>(name, type, sizes);
  row.asked_by = asked_by;
  row.columns = columns;
  return row;
}
template <auto... Path>
Row workspace(const char* name, Result<std::int64_t> (*floats)(const void* args)) {
  Row row = tensor<Path...>(name, Role::workspace, true);
  row.workspace_floats = floats;
  return row;
}

template <auto... Path>
Row value(const char* name) {
  using Stored = typename Field<Path...>::Type;
  using T = typename Bare<Stored>::Type;
  Row row;
  row.name = name;
  row.role = Role::value;
  row.optional = true;
  row.type = type_word<T>();
  row.expected = std::string("a ") + (std::is_same_v<T, bool> ? "bool" : row.type);
  row.set_value = [](void* args, PyObject* object, const Row&) {
    T number{};
    if (!read_number(object, number)) return false;
    // What a default says anyway makes no struct that was not asked for.
    if (Field<Path...>::of(static_cast<const void*>(args)) == number) return true;
    Field<Path...>::of(args) = number;
    return true;
  };
  row.default_value = [](const void* args, const Row&) -> PyObject* {
    const Stored& stored = Field<Path...>::of(args);
    if constexpr (std::is_same_v<Stored, T>)
      return number_object(stored);
    else
      return stored ? number_object(*stored) : Py_NewRef(Py_None);
  };
  return row;
}

template <auto... Path>
Row choice(const char* name, std::vector<std::string> words) {
  using Enum = typename Field<Path...>::Type;
  Row row;
  row.name = name;
  row.role = Role::choice;
  row.optional = true;
  row.type = "str";
  row.expected = list_choices(words);
  row.choices = std::move(words);
  row.set_value = [](void* args, PyObject* object, const Row& self) {
    const std::optional<int> index = read_choice(object, self);
    if (!index) return false;
    const Enum word = static_cast<Enum>(*index);
    if (Field<Path...>::of(static_cast<const void*>(args)) != word) Field<Path...>::of(args) = word;
    return true;
  };
  row.default_value = [](const void* args, const Row& self) {
    const auto index = static_cast<std::size_t>(Field<Path...>::of(args));
    return PyUnicode_FromString(self.choices[index].c_str());
  };
  return row;
}

// The three rows of a variant; `Args::*Member` is a VariantCall.
template <auto Member>
std::vector<Row> variant_rows() {
  Row variant;
  variant.name = "variant";
  variant.role = Role::variant;
  variant.optional = true;
  variant.type = "str";
  variant.expected = "a kiln.AttentionVariant, or the name of one that this process knows";
  variant.set_value = [](void* args, PyObject* object, const Row&) {
    return (Field<Member>::of(args).variant = read_variant(object)) != nullptr;
  };
  variant.default_value = [](const void*, const Row&) { return Py_NewRef(Py_None); };

  Row tensors;
  tensors.name = "variant_tensors";
  tensors.role = Role::variant_tensors;
  tensors.optional = true;
  tensors.type = "tensors";
  tensors.variant_of = [](void* args) { return &Field<Member>::of(args); };
  tensors.default_value = [](const void*, const Row&) { return PyTuple_New(0); };

  Row scalars;
  scalars.name = "variant_scalars";
  scalars.role = Role::variant_scalars;
  scalars.optional = true;
  scalars.type = "floats";
  scalars.expected = "a sequence of numbers, as many as the variant has scalars";
  scalars.set_value = [](void* args, PyObject* object, const Row&) {
    return read_scalars(object, Field<Member>::of(args));
  };
  scalars.default_value = tensors.default_value;
  return {variant, tensors, scalars};
}

}  // namespace kiln::python
