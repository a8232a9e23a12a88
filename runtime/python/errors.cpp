// SPDX-License-Identifier: Apache-2.0
#include "runtime/python/errors.h"

#include "runtime/python/object.h"

namespace kiln::python {
namespace {

// kiln.errors.make(code, message, log): a new reference, or null with an error set.
Object make(const Error& error) {
  const Object module = Object::take(PyImport_ImportModule("kiln.errors"));
  if (!module) return {};
  const std::string code(name_of(error.code));
  // What a compiler printed need not be UTF-8.
  const Object log = Object::take(
      PyUnicode_DecodeUTF8(error.log.data(), static_cast<Py_ssize_t>(error.log.size()), "replace"));
  const Object message = Object::take(PyUnicode_DecodeUTF8(
      error.message.data(), static_cast<Py_ssize_t>(error.message.size()), "replace"));
  if (!log || !message) return {};
  return Object::take(
      PyObject_CallMethod(module.get(), "make", "sOO", code.c_str(), message.get(), log.get()));
}

}  // namespace

void raise(const Error& error) {
  const Object exception = make(error);
  if (exception)
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
}

void raise_type(const std::string& message) {
  PyErr_SetString(PyExc_TypeError, message.c_str());
}

void raise_invalid(const std::string& message) {
  PyObject* type = nullptr;
  PyObject* cause = nullptr;
  PyObject* trace = nullptr;
  PyErr_Fetch(&type, &cause, &trace);
  if (type) PyErr_NormalizeException(&type, &cause, &trace);
  const Object exception = make({ErrorCode::invalid_argument, message, {}});
  if (exception) {
    if (cause) PyException_SetCause(exception.get(), Py_NewRef(cause));
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  }
  Py_XDECREF(type);
  Py_XDECREF(cause);
  Py_XDECREF(trace);
}

}  // namespace kiln::python
