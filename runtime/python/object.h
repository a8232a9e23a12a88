// SPDX-License-Identifier: Apache-2.0
// A reference to a Python object that is given up at the end. For code that calls Python's C API
// and answers with its error set; what throws uses nanobind's objects.
#pragma once

#include <Python.h>

#include <utility>

namespace kiln::python {

class Object {
 public:
  Object() = default;
  // Takes over a new reference; null stays null.
  static Object take(PyObject* owned) {
    Object object;
    object.object_ = owned;
    return object;
  }
  static Object share(PyObject* borrowed) { return take(Py_XNewRef(borrowed)); }
  ~Object() { Py_XDECREF(object_); }
  Object(Object&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Object& operator=(Object&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_ = nullptr;
};

}  // namespace kiln::python
