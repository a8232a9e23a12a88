// SPDX-License-Identifier: Apache-2.0
// Which stream a call runs on.
#include <fmt/format.h>

#include "runtime/python/errors.h"
#include "runtime/python/object.h"
#include "runtime/python/tensor.h"

namespace kiln::python {
namespace {

// A handle from what Python holds; none with an error set.
std::optional<void*> handle_of(PyObject* number) {
  void* const handle = PyLong_AsVoidPtr(number);
  if (!handle && PyErr_Occurred() != nullptr) return std::nullopt;
  return handle;
}

Object attribute_of(PyObject* object, const char* name) {
  Object value = Object::take(PyObject_GetAttrString(object, name));
  if (!value) PyErr_Clear();
  return value;
}

// The number of a stream object of a framework; none where it is no such object.
Object number_of(PyObject* stream) {
  if (const Object protocol = attribute_of(stream, "__cuda_stream__"); protocol) {
    // A method that answers (version, handle).
    const Object pair = Object::take(PyObject_CallNoArgs(protocol.get()));
    if (pair && PyTuple_Check(pair.get()) && PyTuple_GET_SIZE(pair.get()) == 2) {
      return Object::share(PyTuple_GET_ITEM(pair.get(), 1));
    }
    PyErr_Clear();
  }
  for (const char* const name : {"cuda_stream", "ptr"}) {
    if (Object value = attribute_of(stream, name); value && PyLong_Check(value.get())) return value;
  }
  return {};
}

// The current stream of the framework that `tensor` is of; null where it has none.
Object current_of(PyObject* tensor, DLDevice device) {
  const std::string package = package_of(tensor);
  PyObject* const modules = PyImport_GetModuleDict();
  if (package == "cupy") {
    PyObject* const cuda = PyDict_GetItemString(modules, "cupy.cuda");
    return cuda ? Object::take(PyObject_CallMethod(cuda, "get_current_stream", nullptr)) : Object();
  }
  if (package != "torch") return {};
  PyObject* const cuda = PyDict_GetItemString(modules, "torch.cuda");  // HIP's, too
  if (!cuda) return {};
  return Object::take(PyObject_CallMethod(cuda, "current_stream", "i", device.device_id));
}

}  // namespace

bool CallStream::give(PyObject* given, const char* op) {
  if (!given || given == Py_None) return true;
  const Object number = PyLong_Check(given) ? Object::share(given) : number_of(given);
  if (number && PyLong_Check(number.get())) {
    handle_ = handle_of(number.get());
    if (handle_) return true;
  }
  PyErr_Clear();
  raise_type(
      fmt::format("{}: argument 'stream' is of type {}; expected a stream of torch or CuPy, "
                  "an object with __cuda_stream__, or a handle as an integer",
                  op, Py_TYPE(given)->tp_name));
  return false;
}

bool CallStream::resolve(PyObject* tensor, const abi::ExchangeApi* api, DLDevice device) {
  if (handle_ || (device.device_type != kDLCUDA && device.device_type != kDLROCM)) return true;
  if (api && api->current_stream) {
    void* handle = nullptr;
    if (api->current_stream(device.device_type, device.device_id, &handle) != 0) return false;
    handle_ = handle;
    return true;
  }
  const Object stream = current_of(tensor, device);
  if (PyErr_Occurred() != nullptr) return false;
  const Object number = stream ? number_of(stream.get()) : Object();
  handle_ = number ? handle_of(number.get()) : nullptr;
  return handle_.has_value();
}

}  // namespace kiln::python
