// SPDX-License-Identifier: Apache-2.0
#include "runtime/python/variant.h"

#include <nanobind/stl/string.h>

#include <algorithm>

#include "kiln/attention_variant.h"
#include "runtime/python/binding.h"
#include "runtime/python/errors.h"

namespace nb = nanobind;

namespace kiln::python {
namespace {

constexpr std::string_view kWritten = " written";

// What Python holds; the variant itself stays to the end of the process.
struct Variant {
  const KnownAttentionVariant* known;
};

// {"slopes": "f32", "dump": "f32 written"} as names and types.
std::vector<NameValue> words_of(const char* argument, const nb::dict& given) {
  std::vector<NameValue> all;
  for (const auto [name, type] : given) {
    if (!nb::isinstance<nb::str>(name) || !nb::isinstance<nb::str>(type)) {
      raise_type(std::string("AttentionVariant: argument '") + argument +
                 "' holds what is no str; expected names with their types, as {'slopes': 'f32'}");
      throw nb::python_error();
    }
    all.push_back({nb::cast<std::string>(name), nb::cast<std::string>(type)});
  }
  return all;
}

void make(Variant* self, std::string name, std::string logits, std::string mask, std::string sink,
          bool softmax, const nb::dict& tensors, const nb::dict& scalars, std::string doc) {
  AttentionVariant variant{std::move(name),
                           std::move(doc),
                           std::move(logits),
                           std::move(mask),
                           std::move(sink),
                           softmax,
                           {},
                           {}};
  for (auto& [tensor, type] : words_of("tensors", tensors)) {
    const bool written = type.ends_with(kWritten);
    if (written) type.resize(type.size() - kWritten.size());
    variant.tensors.push_back({tensor, type, written});
  }
  for (const auto& [scalar, type] : words_of("scalars", scalars)) {
    variant.scalars.push_back({scalar, type});
  }
  const auto known = add_attention_variant(std::move(variant));
  if (!known) {
    raise(known.error());
    throw nb::python_error();
  }
  new (self) Variant{*known};
}

// Whether a call writes tensors of the variant's.
bool writes(const std::string& name) {
  const KnownAttentionVariant* const known = find_attention_variant(name);
  return known &&
         std::ranges::any_of(known->definition.tensors, &AttentionVariant::Tensor::written);
}

}  // namespace

const KnownAttentionVariant* read_variant(PyObject* object) {
  if (PyUnicode_Check(object)) {
    const char* const text = PyUnicode_AsUTF8(object);
    if (!text) return PyErr_Clear(), nullptr;
    return find_attention_variant(text);
  }
  const nb::handle handle(object);
  return nb::isinstance<Variant>(handle) ? nb::inst_ptr<Variant>(handle)->known : nullptr;
}

void add_variant_class(nb::module_& module) {
  module.def("variant_writes", writes);
  nb::class_<Variant>(module, "AttentionVariant")
      .def("__init__", make, nb::arg("name"), nb::kw_only(), nb::arg("logits") = "",
           nb::arg("mask") = "", nb::arg("sink") = "", nb::arg("softmax") = true,
           nb::arg("tensors") = nb::dict(), nb::arg("scalars") = nb::dict(), nb::arg("doc") = "")
      .def_prop_ro("name", [](const Variant& self) { return self.known->definition.name; })
      .def_prop_ro("word", [](const Variant& self) { return self.known->word; })
      .def("__repr__",
           [](const Variant& self) { return "kiln.AttentionVariant('" + self.known->word + "')"; });
}

}  // namespace kiln::python
