// SPDX-License-Identifier: Apache-2.0
// A call of an op: Python's arguments into the C++ struct, outputs that were not given, the launch.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "runtime/python/binding.h"
#include "runtime/python/errors.h"
#include "runtime/python/object.h"
#include "runtime/python/session.h"

namespace kiln::python {
namespace {

constexpr std::size_t kRowsMax = 40;
constexpr std::size_t kArgsBytesMax = 4096;
constexpr int kDimsMax = 32;

bool is_tensor(const Row& row) {
  return row.set_tensor != nullptr;
}
bool is_written(const Row& row) {
  return row.role != Role::input && row.role != Role::weight;
}
Use use_of(const Row& row) {
  if (is_written(row)) return Use::write;
  return row.role == Role::weight ? Use::weight : Use::read;
}

class Call {
 public:
  explicit Call(const Binding& binding) : binding_(binding) { binding.construct(args_); }

  // Each step: false with Python's error set.
  bool parse(PyObject* const* args, Py_ssize_t count, PyObject* names);
  bool read_options();
  bool read_values();
  bool read_tensors();
  bool allocate();
  bool launch();
  PyObject* answer();

 private:
  bool put(std::size_t row, PyObject* object);
  bool put_named(PyObject* name, PyObject* object);
  bool is_given(std::size_t row) const { return given_[row] && given_[row] != Py_None; }
  bool is_asked_for(std::size_t row) const;
  bool import(std::size_t row);
  bool import_variant_tensors(std::size_t row);
  bool make_output(std::size_t row);
  bool make_workspace(std::size_t row);
  bool make(std::size_t row, std::size_t like, int ndim, const std::int64_t* shape,
            DLDataType type);
  DLDataType output_type(const Row& spec) const;
  std::optional<std::size_t> find(const std::string& name) const;
  Place place(std::size_t row) const { return {binding_.name, binding_.rows[row].name.c_str()}; }

  const Binding& binding_;
  alignas(std::max_align_t) std::byte args_[kArgsBytesMax];
  std::array<PyObject*, kRowsMax> given_{};  // borrowed from the caller
  std::array<Object, kRowsMax> made_;
  std::array<Tensor, kRowsMax> tensors_;
  std::array<Tensor, kVariantTensorsMax> variant_tensors_;
  Object variant_held_;
  PyObject* stream_given_ = nullptr;
  PyObject* arch_given_ = nullptr;
  CallStream stream_;
  CallOptions options_;
};

bool Call::put(std::size_t row, PyObject* object) {
  if (given_[row]) {
    raise_type(fmt::format("{} is given twice", describe(place(row))));
    return false;
  }
  given_[row] = object;
  return true;
}

bool Call::put_named(PyObject* name, PyObject* object) {
  const std::vector<Row>& rows = binding_.rows;
  for (std::size_t row = 0; row < rows.size(); ++row) {  // keywords in source text are interned
    if (rows[row].key == name) return put(row, object);
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (PyUnicode_CompareWithASCIIString(name, rows[row].name.c_str()) == 0) {
      return put(row, object);
    }
  }
  if (PyUnicode_CompareWithASCIIString(name, "stream") == 0) return stream_given_ = object, true;
  if (PyUnicode_CompareWithASCIIString(name, "arch") == 0) return arch_given_ = object, true;
  std::string known;
  for (const Row& row : rows) known += row.name + ", ";
  const char* const text = PyUnicode_AsUTF8(name);
  raise_type(fmt::format("{}: no argument '{}'; there are {}stream, arch", binding_.name,
                         text ? text : "?", known));
  return false;
}

bool Call::parse(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const std::size_t positional = positional_rows(binding_);
  if (static_cast<std::size_t>(count) > positional) {
    raise_type(fmt::format("{} takes {} arguments by position, not {}; the others need their names",
                           binding_.name, positional, count));
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) given_[static_cast<std::size_t>(i)] = args[i];
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    if (!put_named(PyTuple_GET_ITEM(names, i), args[count + i])) return false;
  }
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    if (binding_.rows[row].optional || is_given(row)) continue;
    raise_type(fmt::format("{} is missing", describe(place(row))));
    return false;
  }
  return true;
}

bool Call::read_options() {
  if (!stream_.give(stream_given_, binding_.name)) return false;
  if (!arch_given_ || arch_given_ == Py_None) return true;
  const char* const text = PyUnicode_Check(arch_given_) ? PyUnicode_AsUTF8(arch_given_) : nullptr;
  if (!text) {
    PyErr_Clear();
    raise_type(fmt::format("{}: argument 'arch' is of type {}; expected a str, as 'sm_90a'",
                           binding_.name, Py_TYPE(arch_given_)->tp_name));
    return false;
  }
  auto arch = Arch::parse(text);
  if (!arch) return raise(arch.error()), false;
  options_.arch = std::move(*arch);
  return true;
}

bool Call::read_values() {
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    const Row& spec = binding_.rows[row];
    if (!spec.set_value || !is_given(row)) continue;  // None: the default
    if (spec.set_value(args_, given_[row], spec)) continue;
    const Object shown = Object::take(PyObject_Repr(given_[row]));
    const char* const text = shown ? PyUnicode_AsUTF8(shown.get()) : nullptr;
    PyErr_Clear();
    raise_invalid(fmt::format("{} is {}; expected {}", describe(place(row)),
                              text ? text : Py_TYPE(given_[row])->tp_name, spec.expected));
    return false;
  }
  return true;
}

// An extra output is allocated where True stands for it, or a value asks for it.
bool Call::is_asked_for(std::size_t row) const {
  const Row& spec = binding_.rows[row];
  if (spec.role != Role::extra_output) return !is_given(row);
  if (given_[row] == Py_True) return true;
  return !is_given(row) && !spec.asked_by.empty() && is_given(*find(spec.asked_by));
}

bool Call::import(std::size_t row) {
  const Row& spec = binding_.rows[row];
  const bool done = made_[row]
                        ? tensors_[row].import_made(made_[row].get(), place(row), stream_)
                        : tensors_[row].import(given_[row], place(row), use_of(spec), stream_);
  if (!done) return false;
  spec.set_tensor(args_, tensors_[row].dl());
  return true;
}

// Written ones are held to what outputs are, the others are taken as weights are.
bool Call::import_variant_tensors(std::size_t row) {
  constexpr std::array<const char*, kVariantTensorsMax> kNames = {
      "variant_tensors[0]", "variant_tensors[1]", "variant_tensors[2]", "variant_tensors[3]",
      "variant_tensors[4]", "variant_tensors[5]", "variant_tensors[6]", "variant_tensors[7]"};
  PyObject* const given = given_[row];
  if (!PyTuple_Check(given) && !PyList_Check(given)) {
    raise_type(fmt::format("{} is of type {}; expected a tuple or list of tensors",
                           describe(place(row)), Py_TYPE(given)->tp_name));
    return false;
  }
  variant_held_ = Object::take(PySequence_Tuple(given));  // a list may change under us
  const Py_ssize_t count = variant_held_ ? PyTuple_GET_SIZE(variant_held_.get()) : -1;
  if (count > static_cast<Py_ssize_t>(kVariantTensorsMax)) {
    raise_invalid(fmt::format("{} has {} tensors; no variant has more than {}",
                              describe(place(row)), count, kVariantTensorsMax));
  }
  if (PyErr_Occurred() != nullptr) return false;
  VariantCall& call = *binding_.rows[row].variant_of(args_);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const bool written = call.variant && i < call.variant->definition.tensors.size() &&
                         call.variant->definition.tensors[i].written;
    if (!variant_tensors_[i].import(
            PyTuple_GET_ITEM(variant_held_.get(), static_cast<Py_ssize_t>(i)),
            {binding_.name, kNames[i]}, written ? Use::write : Use::weight, stream_)) {
      return false;
    }
    call.tensors[i] = variant_tensors_[i].dl();
  }
  call.tensors_count = static_cast<std::size_t>(count);
  return true;
}

bool Call::read_tensors() {
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    const Row& spec = binding_.rows[row];
    if (spec.variant_of && is_given(row) && !import_variant_tensors(row)) return false;
    if (!is_tensor(spec) || !is_given(row)) continue;
    if (spec.role == Role::extra_output && PyBool_Check(given_[row])) continue;
    if (!import(row)) return false;
  }
  return true;
}

std::optional<std::size_t> Call::find(const std::string& name) const {
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    if (binding_.rows[row].name == name) return row;
  }
  return std::nullopt;
}

bool Call::make(std::size_t row, std::size_t like, int ndim, const std::int64_t* shape,
                DLDataType type) {
  made_[row] =
      Object::take(allocate_like(given_[like], tensors_[like].dl(), place(row), ndim, shape, type));
  return made_[row] && import(row);
}

DLDataType Call::output_type(const Row& spec) const {
  if (!spec.e4m3_with.empty()) {
    const PyObject* const other = given_[*find(spec.e4m3_with)];
    if (other && other != Py_None && other != Py_False) return {abi::kFloat8E4m3, 8, 1};
  }
  if (spec.type_from == "i32") return {kDLInt, 32, 1};
  const std::optional<std::size_t> source = find(spec.type_from);
  return source ? tensors_[*source].dl().dtype : DLDataType{kDLFloat, 32, 1};
}

bool Call::make_output(std::size_t row) {
  const Row& spec = binding_.rows[row];
  std::int64_t shape[kDimsMax];
  int ndim = 0;
  for (const Sizes& sizes : spec.sizes) {
    const std::optional<std::size_t> source = find(sizes.tensor);
    if (!source || !is_given(*source)) {
      raise_invalid(fmt::format("{} must be given where '{}' is not: its sizes follow from it",
                                describe(place(row)), sizes.tensor));
      return false;
    }
    const DLTensor& from = tensors_[*source].dl();
    const auto bound = [&](int index) {
      return std::clamp(index < 0 ? index + from.ndim : index, 0, from.ndim);
    };
    const int last = sizes.last ? bound(*sizes.last) : from.ndim;
    for (int dim = sizes.first ? bound(*sizes.first) : 0; dim < last; ++dim) {
      if (ndim == kDimsMax - 1 || from.shape[dim] < 0) {
        raise_invalid(fmt::format("{} has a shape that no call takes", describe(place(*source))));
        return false;
      }
      shape[ndim++] = from.shape[dim];
    }
  }
  if (spec.columns) {
    if (!is_given(*find(spec.asked_by))) {
      raise_invalid(fmt::format("{} has columns that follow from '{}': give that too",
                                describe(place(row)), spec.asked_by));
      return false;
    }
    shape[ndim++] = std::max<std::int64_t>(spec.columns(args_), 0);
  }
  const DLDataType type = output_type(spec);
  if (!can_allocate(type)) {
    raise_invalid(
        fmt::format("{}: tensor '{}' holds DLPack code {}, {} bits, {} lanes, which no op "
                    "has outputs of",
                    binding_.name, spec.type_from, type.code, type.bits, type.lanes));
    return false;
  }
  return make(row, *find(spec.sizes.front().tensor), ndim, shape, type);
}

bool Call::make_workspace(std::size_t row) {
  const auto floats = binding_.rows[row].workspace_floats(args_);
  if (!floats) return raise(floats.error()), false;
  if (*floats == 0) return true;
  // A bare capsule has no framework that could allocate. Ops do without, or say that they cannot.
  if (package_of(given_[0]) == "builtins") return true;
  // The first argument of every op is a tensor that must be given.
  return make(row, 0, 1, &*floats, {kDLFloat, 32, 1});
}

bool Call::allocate() {
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    const Role role = binding_.rows[row].role;
    if ((role != Role::output && role != Role::extra_output) || !is_asked_for(row)) continue;
    if (!make_output(row)) return false;
  }
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    if (binding_.rows[row].role != Role::workspace || is_given(row)) continue;
    if (!make_workspace(row)) return false;
  }
  return true;
}

bool Call::launch() {
  const Result<std::shared_ptr<Runtime>> runtime = session();
  if (!runtime) return raise(runtime.error()), false;
  options_.stream = {stream_.handle()};
  PyThreadState* const state = PyEval_SaveThread();
  const Result<void> done = binding_.launch(**runtime, args_, options_);
  PyEval_RestoreThread(state);
  if (!done) raise(done.error());
  return done.has_value();
}

PyObject* Call::answer() {
  std::array<PyObject*, kRowsMax> outputs{};
  Py_ssize_t count = 0;
  for (std::size_t row = 0; row < binding_.rows.size(); ++row) {
    const Role role = binding_.rows[row].role;
    if (role != Role::output && role != Role::extra_output) continue;
    PyObject* const object = made_[row] ? made_[row].get() : given_[row];
    if (object && object != Py_None && object != Py_False) outputs[count++] = object;
  }
  if (count == 1) return Py_NewRef(outputs[0]);
  PyObject* const all = PyTuple_New(count);
  for (Py_ssize_t i = 0; all && i < count; ++i) {
    PyTuple_SET_ITEM(all, i, Py_NewRef(outputs[static_cast<std::size_t>(i)]));
  }
  return all;
}

}  // namespace

std::size_t positional_rows(const Binding& binding) {
  std::size_t count = 0;
  for (const Row& row : binding.rows) {
    if (!is_tensor(row) || row.role == Role::output || row.role == Role::extra_output ||
        row.role == Role::workspace) {
      break;
    }
    ++count;
  }
  return count;
}

PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const auto* const binding =
      static_cast<const Binding*>(PyCapsule_GetPointer(self, "kiln.binding"));
  if (!binding) return nullptr;
  try {
    Call call(*binding);
    const bool done = call.parse(args, count, names) && call.read_options() && call.read_values() &&
                      call.read_tensors() && call.allocate() && call.launch();
    return done ? call.answer() : nullptr;
  } catch (const std::exception& error) {  // fmt, or no memory
    PyErr_SetString(PyExc_MemoryError, error.what());
    return nullptr;
  }
}

}  // namespace kiln::python
