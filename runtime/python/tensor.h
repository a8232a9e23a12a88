// SPDX-License-Identifier: Apache-2.0
// A Python object as a DLTensor, by the DLPack protocol. Functions need the GIL; where they fail
// they set Python's error, which names the op and the argument.
#pragma once

#include <Python.h>

#include <optional>
#include <string>

#include "runtime/python/dlpack_abi.h"

namespace kiln::python {

// What a call does with an argument, and so what it takes.
enum class Use {
  read,    // a tensor that requires grad is an error: Kiln computes no gradients
  weight,  // read; one that requires grad is taken for its value, as by detach(): same memory
  write,   // must not be read-only, immutable, or require grad
};

// Who is asking: for messages.
struct Place {
  const char* op;
  const char* argument;
};
std::string describe(const Place& place);

// The stream that a call runs on: the one given, or its framework's current one, asked for once a
// tensor on a GPU is seen.
class CallStream {
 public:
  // `given`: null or None; an integer; or an object with __cuda_stream__(), cuda_stream (torch) or
  // ptr (CuPy). False with an error set for anything else.
  bool give(PyObject* given, const char* op);
  // False with an error set where the framework's own stream cannot be had.
  bool resolve(PyObject* tensor, const abi::ExchangeApi* api, DLDevice device);
  void* handle() const { return handle_.value_or(nullptr); }

 private:
  std::optional<void*> handle_;
};

// Holds what the producer lent, until its end.
class Tensor {
 public:
  Tensor() = default;
  ~Tensor();
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  // Takes `object`, which must outlive this. Consumes a capsule at most once. False with an error
  // set: TypeError for what is no tensor, else kiln.InvalidArgument.
  bool import(PyObject* object, const Place& place, Use use, CallStream& stream);
  // The same for what allocate_like() has made, of which nothing needs to be asked.
  bool import_made(PyObject* object, const Place& place, CallStream& stream);
  const DLTensor& dl() const { return dl_; }

 private:
  bool borrow(const abi::ExchangeApi& api, PyObject* object, const Place& place);
  bool ask(PyObject* object, const Place& place, Use use, CallStream& stream);
  bool consume(PyObject* capsule, const Place& place, Use use);
  bool is_sound(const Place& place) const;

  DLTensor dl_{};
  DLManagedTensor* managed_ = nullptr;
  abi::ManagedTensorVersioned* versioned_ = nullptr;
};

// The table of an object's type; null where it has none that can be used here. No error is set.
const abi::ExchangeApi* exchange_api_of(PyObject* object);
// The package that a type comes from: "torch", "numpy", "jaxlib".
std::string package_of(PyObject* object);

// Whether there is a name for the type.
bool can_allocate(DLDataType type);
// A tensor of the framework and on the device of `like`. Null with an error set.
PyObject* allocate_like(PyObject* like, const DLTensor& like_tensor, const Place& place, int ndim,
                        const std::int64_t* shape, DLDataType type);

}  // namespace kiln::python
