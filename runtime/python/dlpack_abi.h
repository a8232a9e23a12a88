// SPDX-License-Identifier: Apache-2.0
// What DLPack 1.0 to 1.3 added to the header that Debian has: declared here, since one build serves
// producers of every version. Source: dmlc/dlpack, include/dlpack/dlpack.h, and the Python
// specification beside it.
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>

namespace kiln::python::abi {

inline constexpr std::uint8_t kFloat8E4m3 = 10;  // kDLFloat8_e4m3fn of DLPack 1.1

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

constexpr std::uint64_t kReadOnly = 1;  // a bit of `flags`

// In a capsule named "dltensor_versioned". Of another major version only `deleter` may be used.
struct ManagedTensorVersioned {
  Version version;
  void* manager_ctx;
  void (*deleter)(ManagedTensorVersioned* self);
  std::uint64_t flags;
  DLTensor dl_tensor;
};

struct ExchangeHeader {
  Version version;
  ExchangeHeader* prev_api;
};

// Of a tensor type's attribute __dlpack_c_exchange_api__, a capsule named "dlpack_exchange_api":
// tensors without a call into Python. Functions return 0, or -1 with a Python error set.
struct ExchangeApi {
  ExchangeHeader header;
  int (*allocate)(DLTensor* prototype, ManagedTensorVersioned** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message));
  int (*managed_from_object)(void* object, ManagedTensorVersioned** out);
  int (*object_from_managed)(ManagedTensorVersioned* tensor, void** out);
  int (*borrow_from_object)(void* object, DLTensor* out);  // may be null; lives as the object does
  int (*current_stream)(DLDeviceType type, std::int32_t device, void** out);
};

}  // namespace kiln::python::abi
