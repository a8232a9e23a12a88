// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/tensor_check.h"

#include <fmt/format.h>

#include <string>

namespace kiln {
namespace {

constexpr const char* kTypeNames[] = {"bf16", "f16", "f32", "i32", "i64", "e4m3", "e5m2"};

std::string describe_type(const DLDataType& type) {
  using enum ElementType;
  for (const ElementType known : {bf16, f16, f32, i32, i64, e4m3, e5m2}) {
    const DLDataType dl = dl_type_of(known);
    if (dl.code == type.code && dl.bits == type.bits && type.lanes == 1) {
      return std::string(name_of(known));
    }
  }
  return fmt::format("DLPack code {}, {} bits, {} lanes", int{type.code}, int{type.bits},
                     int{type.lanes});
}

std::string describe_device(const DLDevice& device) {
  switch (device.device_type) {
    case kDLCPU:
      return "the CPU";
    case kDLCUDA:
      return fmt::format("CUDA device {}", device.device_id);
    case kDLROCM:
      return fmt::format("ROCm device {}", device.device_id);
    default:
      return fmt::format("DLPack device type {}", static_cast<int>(device.device_type));
  }
}

std::string describe_shape(const DLTensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.shape, tensor.shape + tensor.ndim, ", "));
}

std::string describe_extents(std::initializer_list<Extent> extents) {
  std::string text;
  for (const Extent& extent : extents) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", extent.name, extent.size);
  }
  return "[" + text + "]";
}

bool is_empty(const DLTensor& tensor) {
  for (int i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] == 0) return true;
  }
  return false;
}

}  // namespace

std::string_view name_of(ElementType type) {
  return kTypeNames[static_cast<int>(type)];
}

tl::unexpected<Error> TensorCheck::bad(std::string_view name, const std::string& what) const {
  return fail(ErrorCode::invalid_argument, fmt::format("{}: tensor '{}' {}", op_, name, what));
}

Result<void> TensorCheck::look_closely_at_rank(std::string_view name, const DLTensor& tensor,
                                               int rank) const {
  if (tensor.ndim != rank) {
    return bad(name, fmt::format("has {} dimensions, not {}", tensor.ndim, rank));
  }
  return check_sizes(name, tensor);
}

Result<void> TensorCheck::check_sizes(std::string_view name, const DLTensor& tensor) const {
  if (tensor.ndim > 0 && !tensor.shape) return bad(name, "has no shape: its pointer is null");
  for (int dim = 0; dim < tensor.ndim; ++dim) {
    if (tensor.shape[dim] >= 0) continue;
    return bad(name, fmt::format("has size {} in dimension {}", tensor.shape[dim], dim));
  }
  return {};
}

Result<ElementType> TensorCheck::type_among(std::string_view name, const DLTensor& tensor,
                                            std::initializer_list<ElementType> types) const {
  for (const ElementType type : types) {
    if (holds(tensor, type)) return type;
  }
  std::string wanted;
  for (const ElementType type : types) {
    wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", name_of(type));
  }
  return bad(name, fmt::format("holds {}, not one of {}", describe_type(tensor.dtype), wanted));
}

Result<void> TensorCheck::check_device(std::string_view name, const DLTensor& tensor) {
  if (first_.empty()) {
    device_ = tensor.device;
    first_ = name;
    return {};
  }
  if (tensor.device.device_type == device_.device_type &&
      tensor.device.device_id == device_.device_id) {
    return {};
  }
  return bad(name, fmt::format("is on {}, but '{}' is on {}", describe_device(tensor.device),
                               first_, describe_device(device_)));
}

Result<void> TensorCheck::look_closely(std::string_view name, const DLTensor& tensor,
                                       ElementType type, std::initializer_list<Extent> extents,
                                       Inner inner) {
  if (!tensor.data && tensor.ndim == 0 && extents.size() > 0) return bad(name, "is absent");
  if (!holds(tensor, type)) {
    return bad(name, fmt::format("holds {}, not {}", describe_type(tensor.dtype), name_of(type)));
  }
  KILN_TRY(check_rank(name, tensor, static_cast<int>(extents.size())));
  int dim = 0;
  for (const Extent& extent : extents) {
    if (tensor.shape[dim++] == extent.size) continue;
    return bad(name, fmt::format("has shape {}, not {}", describe_shape(tensor),
                                 describe_extents(extents)));
  }
  KILN_TRY(check_device(name, tensor));
  if (is_empty(tensor)) return {};
  if (!tensor.data) return bad(name, "has no data: its pointer is null");
  if (reinterpret_cast<std::uintptr_t>(address_of(tensor)) % size_bytes_of(type) != 0) {
    return bad(name, fmt::format("is not aligned to its {} bytes an element", size_bytes_of(type)));
  }
  const int last = tensor.ndim - 1;
  if (inner == Inner::dense && last >= 0 && tensor.shape[last] > 1 &&
      stride_of(tensor, last) != 1) {
    return bad(name, fmt::format("has stride {} in its last dimension; it must be dense there",
                                 stride_of(tensor, last)));
  }
  return {};
}

Result<void> TensorCheck::look_closely_dense(std::string_view name, const DLTensor& tensor,
                                             ElementType type,
                                             std::initializer_list<Extent> extents) {
  KILN_TRY(check(name, tensor, type, extents));
  if (!tensor.strides) return {};
  std::int64_t wanted = 1;
  for (int dim = tensor.ndim - 1; dim >= 0; --dim) {
    if (tensor.shape[dim] > 1 && stride_of(tensor, dim) != wanted && !is_empty(tensor)) {
      return bad(name, fmt::format("has stride {} in dimension {}; it must be contiguous",
                                   stride_of(tensor, dim), dim));
    }
    wanted *= tensor.shape[dim];
  }
  return {};
}

}  // namespace kiln
