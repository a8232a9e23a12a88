// SPDX-License-Identifier: Apache-2.0
#include "runtime/python/tensor.h"

#include <fmt/format.h>

#include "runtime/python/errors.h"
#include "runtime/python/object.h"

namespace kiln::python {
namespace {

constexpr int kDimsMax = 64;

// Names that are looked up at each call, made once and kept.
PyObject* name(PyObject*& slot, const char* text) {
  if (!slot) slot = PyUnicode_InternFromString(text);
  return slot;
}

// An attribute that may be missing: null without an error.
Object optional_attribute(PyObject* object, PyObject* attribute) {
  Object value = Object::take(PyObject_GetAttr(object, attribute));
  if (!value) PyErr_Clear();
  return value;
}

bool requires_grad(PyObject* object) {
  static PyObject* attribute = nullptr;
  const Object value = optional_attribute(object, name(attribute, "requires_grad"));
  return value.get() == Py_True;
}

bool refuse_grad(const Place& place, Use use) {
  raise_invalid(fmt::format(
      "{} requires grad, and Kiln computes no gradients{}: pass {}.detach(), which shares its "
      "memory",
      describe(place), use == Use::write ? " and would write behind autograd's back" : "",
      place.argument));
  return false;
}

bool is_capsule(PyObject* object) {
  return PyCapsule_CheckExact(object) != 0;
}

// What __dlpack__ is told. On the CPU nothing waits for anything.
Object stream_word(DLDevice device, const CallStream& stream) {
  const auto handle = reinterpret_cast<std::uintptr_t>(stream.handle());
  if (device.device_type == kDLCUDA && handle == 0) return Object::take(PyLong_FromLong(1));
  return Object::take(PyLong_FromSize_t(handle));
}

// object.__dlpack__(stream=..., max_version=(1, 3)), or without what an older one does not know.
Object call_dlpack(PyObject* object, DLDevice device, const CallStream& stream) {
  const Object method = Object::take(PyObject_GetAttrString(object, "__dlpack__"));
  const Object none = Object::take(PyTuple_New(0));
  const Object words = Object::take(PyDict_New());
  if (!method || !none || !words) return {};
  if (device.device_type == kDLCUDA || device.device_type == kDLROCM) {
    const Object word = stream_word(device, stream);
    if (!word || PyDict_SetItemString(words.get(), "stream", word.get()) != 0) return {};
  }
  const Object version = Object::take(Py_BuildValue("(ii)", 1, 3));
  if (!version || PyDict_SetItemString(words.get(), "max_version", version.get()) != 0) return {};
  Object capsule = Object::take(PyObject_Call(method.get(), none.get(), words.get()));
  if (capsule || PyErr_ExceptionMatches(PyExc_TypeError) == 0) return capsule;
  PyErr_Clear();
  if (PyDict_DelItemString(words.get(), "max_version") != 0) return {};
  return Object::take(PyObject_Call(method.get(), none.get(), words.get()));
}

// object.__dlpack_device__(); false with an error set.
bool device_of(PyObject* object, const Place& place, DLDevice& device) {
  const Object pair = Object::take(PyObject_CallMethod(object, "__dlpack_device__", nullptr));
  int type = 0;
  int index = 0;
  if (pair && PyTuple_Check(pair.get()) && PyTuple_GET_SIZE(pair.get()) == 2) {
    const Object plain = Object::take(PyNumber_Long(PyTuple_GET_ITEM(pair.get(), 0)));
    type = plain ? static_cast<int>(PyLong_AsLong(plain.get())) : 0;
    index = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(pair.get(), 1)));
    if (PyErr_Occurred() == nullptr) {
      device = {static_cast<DLDeviceType>(type), index};
      return true;
    }
  }
  raise_invalid(fmt::format("{}: its __dlpack_device__ does not tell its device", describe(place)));
  return false;
}

}  // namespace

std::string describe(const Place& place) {
  return fmt::format("{}: argument '{}'", place.op, place.argument);
}

std::string package_of(PyObject* object) {
  const Object module = Object::take(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(object)), "__module__"));
  const char* text = module && PyUnicode_Check(module.get()) ? PyUnicode_AsUTF8(module.get()) : "";
  if (!text) text = "";
  PyErr_Clear();
  const std::string_view all(text);
  return std::string(all.substr(0, all.find('.')));
}

const abi::ExchangeApi* exchange_api_of(PyObject* object) {
  // Asked for each tensor of each call, nearly always of one type. The GIL guards it.
  static PyObject* last_type = nullptr;
  static const abi::ExchangeApi* last_api = nullptr;
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(object));
  if (type == last_type) return last_api;
  static PyObject* attribute = nullptr;
  const Object capsule = optional_attribute(type, name(attribute, "__dlpack_c_exchange_api__"));
  const abi::ExchangeApi* api = nullptr;
  if (capsule && PyCapsule_IsValid(capsule.get(), "dlpack_exchange_api") != 0) {
    api = static_cast<const abi::ExchangeApi*>(
        PyCapsule_GetPointer(capsule.get(), "dlpack_exchange_api"));
    while (api && api->header.version.major != 1) {
      api = reinterpret_cast<const abi::ExchangeApi*>(api->header.prev_api);
    }
  }
  if (!PyErr_Occurred()) {
    PyObject* const before = last_type;
    last_type = Py_NewRef(type);  // held, so that no other type gets its address
    last_api = api;
    Py_XDECREF(before);
  }
  return api;
}

Tensor::~Tensor() {
  // A deleter may run Python code, which an error that is on its way must not disturb.
  if (!managed_ && !versioned_) return;
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  if (managed_ && managed_->deleter) managed_->deleter(managed_);
  if (versioned_ && versioned_->deleter) versioned_->deleter(versioned_);
  PyErr_Restore(type, value, trace);
}

bool Tensor::import(PyObject* object, const Place& place, Use use, CallStream& stream) {
  if (is_capsule(object)) return consume(object, place, use) && is_sound(place);
  const bool grad = requires_grad(object);
  if (grad && use != Use::weight) return refuse_grad(place, use);
  const abi::ExchangeApi* const api = exchange_api_of(object);
  if (api && api->borrow_from_object) {
    return borrow(*api, object, place) && is_sound(place) &&
           stream.resolve(object, api, dl_.device);
  }
  if (!grad) return ask(object, place, use, stream) && is_sound(place);
  const Object detached = Object::take(PyObject_CallMethod(object, "detach", nullptr));
  return detached && ask(detached.get(), place, use, stream) && is_sound(place);
}

bool Tensor::import_made(PyObject* object, const Place& place, CallStream& stream) {
  const abi::ExchangeApi* const api = exchange_api_of(object);
  if (!api || !api->borrow_from_object) return import(object, place, Use::write, stream);
  return api->borrow_from_object(object, &dl_) == 0;
}

bool Tensor::borrow(const abi::ExchangeApi& api, PyObject* object, const Place& place) {
  // torch's views whose numbers are the negatives of what memory holds: DLPack cannot tell.
  static PyObject* method = nullptr;
  const Object negated = Object::take(PyObject_CallMethodNoArgs(object, name(method, "is_neg")));
  if (!negated) PyErr_Clear();
  if (negated.get() == Py_True) {
    raise_invalid(fmt::format("{} is a negated view: pass {}.resolve_neg()", describe(place),
                              place.argument));
    return false;
  }
  if (api.borrow_from_object(object, &dl_) == 0) return true;
  raise_invalid(
      fmt::format("{} of type {} cannot be used: it has no plain memory that DLPack can "
                  "describe",
                  describe(place), Py_TYPE(object)->tp_name));
  return false;
}

bool Tensor::ask(PyObject* object, const Place& place, Use use, CallStream& stream) {
  static PyObject* attribute = nullptr;
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(object));
  if (!optional_attribute(type, name(attribute, "__dlpack__"))) {
    raise_type(
        fmt::format("{} is of type {}; a tensor is expected: an object with __dlpack__, as "
                    "torch, NumPy, CuPy and JAX have",
                    describe(place), Py_TYPE(object)->tp_name));
    return false;
  }
  if (const std::string package = package_of(object);
      use == Use::write && (package == "jax" || package == "jaxlib")) {
    raise_invalid(
        fmt::format("{} is written, and JAX arrays are immutable: pass a tensor of "
                    "another framework",
                    describe(place)));
    return false;
  }
  DLDevice device{};
  if (!device_of(object, place, device) || !stream.resolve(object, nullptr, device)) return false;
  const Object capsule = call_dlpack(object, device, stream);
  if (!capsule) {
    raise_invalid(fmt::format("{}: its __dlpack__ failed (see the exception that caused this one)",
                              describe(place)));
    return false;
  }
  if (!is_capsule(capsule.get())) {
    raise_invalid(fmt::format("{}: its __dlpack__ gave {}, not a capsule", describe(place),
                              Py_TYPE(capsule.get())->tp_name));
    return false;
  }
  return consume(capsule.get(), place, use);
}

bool Tensor::consume(PyObject* capsule, const Place& place, Use use) {
  const char* const title = PyCapsule_GetName(capsule);
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  const std::string_view kind = title ? title : "";
  if (kind == "dltensor") {
    managed_ = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, title));
    if (PyCapsule_SetName(capsule, "used_dltensor") != 0) return false;
    dl_ = managed_->dl_tensor;
    return true;
  }
  if (kind != "dltensor_versioned") {
    raise_invalid(fmt::format(
        "{} is a capsule named '{}'{}; expected 'dltensor' or "
        "'dltensor_versioned'",
        describe(place), kind, kind.starts_with("used_") ? ", which was consumed before" : ""));
    return false;
  }
  versioned_ = static_cast<abi::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, title));
  if (PyCapsule_SetName(capsule, "used_dltensor_versioned") != 0) return false;
  if (versioned_->version.major != 1) {
    raise_invalid(fmt::format("{} comes as DLPack {}.{}; versions 0 and 1 are known here",
                              describe(place), versioned_->version.major,
                              versioned_->version.minor));
    return false;
  }
  dl_ = versioned_->dl_tensor;
  if (use == Use::write && (versioned_->flags & abi::kReadOnly) != 0) {
    raise_invalid(fmt::format("{} is read-only; it is written", describe(place)));
    return false;
  }
  return true;
}

bool Tensor::is_sound(const Place& place) const {
  if (dl_.ndim >= 0 && dl_.ndim <= kDimsMax && (dl_.ndim == 0 || dl_.shape)) return true;
  raise_invalid(fmt::format("{} has {} dimensions{}; expected at most {}, with their sizes",
                            describe(place), dl_.ndim, dl_.shape ? "" : " and no shape", kDimsMax));
  return false;
}

}  // namespace kiln::python
