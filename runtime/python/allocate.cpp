// SPDX-License-Identifier: Apache-2.0
// Outputs that a caller leaves to Kiln: allocated by the framework of an input.
#include <fmt/format.h>

#include "runtime/python/errors.h"
#include "runtime/python/object.h"
#include "runtime/python/tensor.h"

namespace kiln::python {
namespace {

// What frameworks call a type.
const char* dtype_name(DLDataType type) {
  if (type.lanes != 1) return nullptr;
  if (type.code == kDLBfloat && type.bits == 16) return "bfloat16";
  if (type.code == kDLFloat && type.bits == 16) return "float16";
  if (type.code == kDLFloat && type.bits == 32) return "float32";
  if (type.code == abi::kFloat8E4m3 && type.bits == 8) return "float8_e4m3fn";
  if (type.code == kDLInt && type.bits == 32) return "int32";
  if (type.code == kDLInt && type.bits == 64) return "int64";
  return nullptr;
}

void set_error(void* /*context*/, const char* kind, const char* message) {
  PyErr_Format(PyExc_RuntimeError, "%s: %s", kind, message);
}

PyObject* allocate_by_table(const abi::ExchangeApi& api, DLTensor prototype) {
  abi::ManagedTensorVersioned* made = nullptr;
  if (api.allocate(&prototype, &made, nullptr, set_error) != 0) return nullptr;
  void* object = nullptr;
  if (api.object_from_managed(made, &object) != 0) return nullptr;
  return static_cast<PyObject*>(object);
}

Object tuple_of(int ndim, const std::int64_t* shape) {
  Object sizes = Object::take(PyTuple_New(ndim));
  for (int dim = 0; sizes && dim < ndim; ++dim) {
    PyObject* const size = PyLong_FromLongLong(shape[dim]);
    if (!size) return {};
    PyTuple_SET_ITEM(sizes.get(), dim, size);
  }
  return sizes;
}

// tensor.new_empty(shape, dtype=torch.float32): torch before its exchange table.
PyObject* allocate_by_torch(PyObject* like, const Object& shape, const char* dtype) {
  PyObject* const torch = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");
  const Object type = Object::take(torch ? PyObject_GetAttrString(torch, dtype) : nullptr);
  const Object method = Object::take(type ? PyObject_GetAttrString(like, "new_empty") : nullptr);
  const Object words = Object::take(type ? Py_BuildValue("{sO}", "dtype", type.get()) : nullptr);
  const Object args = Object::take(PyTuple_Pack(1, shape.get()));
  if (!method || !words || !args) return nullptr;
  return PyObject_Call(method.get(), args.get(), words.get());
}

// namespace.empty(shape, dtype): NumPy, CuPy and whatever keeps to the array API standard.
PyObject* allocate_by_namespace(PyObject* like, const Object& shape, const char* dtype) {
  Object space = Object::take(PyObject_CallMethod(like, "__array_namespace__", nullptr));
  if (!space) {
    PyErr_Clear();
    const std::string package = package_of(like);
    space = Object::share(PyDict_GetItemString(PyImport_GetModuleDict(), package.c_str()));
  }
  const Object type = Object::take(space ? PyObject_GetAttrString(space.get(), dtype) : nullptr);
  if (!type) return nullptr;
  return PyObject_CallMethod(space.get(), "empty", "OO", shape.get(), type.get());
}

}  // namespace

bool can_allocate(DLDataType type) {
  return dtype_name(type) != nullptr;
}

PyObject* allocate_like(PyObject* like, const DLTensor& like_tensor, const Place& place, int ndim,
                        const std::int64_t* shape, DLDataType type) {
  const char* const dtype = dtype_name(type);
  PyObject* made = nullptr;
  if (const abi::ExchangeApi* const api = exchange_api_of(like);
      api && api->allocate && api->object_from_managed) {
    DLTensor prototype = like_tensor;
    prototype.ndim = ndim;
    prototype.shape = const_cast<std::int64_t*>(shape);
    prototype.strides = nullptr;
    prototype.dtype = type;
    prototype.data = nullptr;
    prototype.byte_offset = 0;
    made = allocate_by_table(*api, prototype);
  } else if (const Object sizes = tuple_of(ndim, shape); sizes && dtype) {
    made = package_of(like) == "torch" ? allocate_by_torch(like, sizes, dtype)
                                       : allocate_by_namespace(like, sizes, dtype);
  }
  if (!made) {
    raise_invalid(
        fmt::format("{} was not given, and {} cannot allocate a tensor of {} for it: "
                    "pass one",
                    describe(place), package_of(like), dtype ? dtype : "that type"));
  }
  return made;
}

}  // namespace kiln::python
