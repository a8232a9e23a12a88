// SPDX-License-Identifier: Apache-2.0
// Checks of the tensors that callers hand in, with errors that name op, tensor and what was wanted.
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "jit/base/result.h"

namespace kiln {

// The element types that ops take, by DLPack code and bits.
// e4m3 and e5m2: the 8-bit floats of the Open Compute Project, DLPack's kDLFloat8_e4m3fn and
// kDLFloat8_e5m2, which not every DLPack header in use has a name for.
enum class ElementType { bf16, f16, f32, i32, i64, e4m3, e5m2, u8 };
std::string_view name_of(ElementType type);
// As DLPack says it.
inline constexpr DLDataType kDlTypes[] = {{kDLBfloat, 16, 1}, {kDLFloat, 16, 1}, {kDLFloat, 32, 1},
                                          {kDLInt, 32, 1},    {kDLInt, 64, 1},   {10, 8, 1},
                                          {12, 8, 1},         {kDLUInt, 8, 1}};
constexpr DLDataType dl_type_of(ElementType type) {
  return kDlTypes[static_cast<int>(type)];
}
constexpr std::size_t size_bytes_of(ElementType type) {
  return dl_type_of(type).bits / 8U;
}
// Whether `tensor` holds elements of `type`.
inline bool holds(const DLTensor& tensor, ElementType type) {
  const DLDataType wanted = dl_type_of(type);
  return tensor.dtype.code == wanted.code && tensor.dtype.bits == wanted.bits &&
         tensor.dtype.lanes == 1;
}

// The address of a tensor's first element.
inline void* address_of(const DLTensor& tensor) {
  return static_cast<char*>(tensor.data) + tensor.byte_offset;
}
// The distance of neighbours in dimension `dim`, in elements; also for compact tensors that give
// no strides.
inline std::int64_t stride_of(const DLTensor& tensor, int dim) {
  if (tensor.strides) return tensor.strides[dim];
  std::int64_t stride = 1;
  for (int i = tensor.ndim - 1; i > dim; --i) stride *= tensor.shape[i];
  return stride;
}

// One dimension: the name that messages use, and its size.
struct Extent {
  const char* name;
  std::int64_t size;
};

// How far elements of the innermost dimension may lie apart.
enum class Inner { dense, any_stride };

// The tensors of one call to `op`, checked one after the other. A passing check allocates nothing,
// and keeps the first tensor's name by reference.
class TensorCheck {
 public:
  explicit TensorCheck(std::string_view op) : op_(op) {}

  // `tensor` has this type and these extents, lies on the same device as those checked before, is
  // aligned to its elements and has data, unless it has no elements.
  // Errors: invalid_argument.
  Result<void> check(std::string_view name, const DLTensor& tensor, ElementType type,
                     std::initializer_list<Extent> extents, Inner inner = Inner::dense) {
    if (is_plain(name, tensor, type, extents)) return {};
    return look_closely(name, tensor, type, extents, inner);
  }
  // The same for a tensor whose elements must lie densely, in row-major order.
  Result<void> check_dense(std::string_view name, const DLTensor& tensor, ElementType type,
                           std::initializer_list<Extent> extents) {
    if (is_plain(name, tensor, type, extents) && is_plainly_dense(tensor)) return {};
    return look_closely_dense(name, tensor, type, extents);
  }
  // Only the number of dimensions: to read extents from a tensor before checking the rest.
  Result<void> check_rank(std::string_view name, const DLTensor& tensor, int rank) const {
    if (tensor.ndim == rank && has_sizes(tensor)) return {};
    return look_closely_at_rank(name, tensor, rank);
  }

  // The type of `tensor`, one of `types`. Errors: invalid_argument.
  Result<ElementType> type_among(std::string_view name, const DLTensor& tensor,
                                 std::initializer_list<ElementType> types) const;

  // That there are sizes and none is negative, whatever their number: to read them before the rest.
  Result<void> check_sizes(std::string_view name, const DLTensor& tensor) const;

  // The device of the tensors that were checked.
  DLDevice device() const { return device_; }

 private:
  // Whether nothing about `tensor` needs a closer look: what nearly every call's tensors are, told
  // in a few nanoseconds. A no decides nothing.
  bool is_plain(std::string_view name, const DLTensor& tensor, ElementType type,
                std::initializer_list<Extent> extents) {
    if (!looks_plain(tensor, type, extents)) return false;
    if (first_.empty()) {
      device_ = tensor.device;
      first_ = name;
      return true;
    }
    return tensor.device.device_type == device_.device_type &&
           tensor.device.device_id == device_.device_id;
  }
  static bool looks_plain(const DLTensor& tensor, ElementType type,
                          std::initializer_list<Extent> extents) {
    if (!holds(tensor, type)) return false;
    const auto rank = static_cast<int>(extents.size());
    if (tensor.ndim != rank || rank == 0 || !tensor.shape || !tensor.data) return false;
    const Extent* const wanted = extents.begin();
    for (int dim = 0; dim < rank; ++dim) {
      if (tensor.shape[dim] != wanted[dim].size || tensor.shape[dim] < 1) return false;
    }
    if (tensor.strides && tensor.strides[rank - 1] != 1) return false;
    return reinterpret_cast<std::uintptr_t>(address_of(tensor)) % size_bytes_of(type) == 0;
  }
  // Of a plain tensor.
  static bool is_plainly_dense(const DLTensor& tensor) {
    if (!tensor.strides) return true;
    std::int64_t dense = 1;
    for (int dim = tensor.ndim - 1; dim >= 0; --dim) {
      if (tensor.strides[dim] != dense) return false;
      dense *= tensor.shape[dim];
    }
    return true;
  }
  static bool has_sizes(const DLTensor& tensor) {
    if (!tensor.shape) return false;
    for (int dim = 0; dim < tensor.ndim; ++dim) {
      if (tensor.shape[dim] < 0) return false;
    }
    return true;
  }
  Result<void> look_closely(std::string_view name, const DLTensor& tensor, ElementType type,
                            std::initializer_list<Extent> extents, Inner inner);
  Result<void> look_closely_dense(std::string_view name, const DLTensor& tensor, ElementType type,
                                  std::initializer_list<Extent> extents);
  Result<void> look_closely_at_rank(std::string_view name, const DLTensor& tensor, int rank) const;
  tl::unexpected<Error> bad(std::string_view name, const std::string& what) const;
  Result<void> check_device(std::string_view name, const DLTensor& tensor);

  std::string_view op_;
  DLDevice device_{};
  std::string_view first_;  // the tensor that set device_; empty before the first check
};

}  // namespace kiln
