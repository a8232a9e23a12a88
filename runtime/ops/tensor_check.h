// SPDX-License-Identifier: Apache-2.0
// Checks of the tensors that callers hand in, with errors that name op, tensor and what was wanted.
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "jit/base/result.h"

namespace kiln {

// The element types that ops take, by DLPack code and bits.
enum class ElementType { bf16, f16, f32, i32, i64 };
std::string_view name_of(ElementType type);
std::size_t size_bytes_of(ElementType type);
// Whether `tensor` holds elements of `type`.
bool holds(const DLTensor& tensor, ElementType type);

// One dimension: the name that messages use, and its size.
struct Extent {
  const char* name;
  std::int64_t size;
};

// How far elements of the innermost dimension may lie apart.
enum class Inner { dense, any_stride };

// The tensors of one call to `op`, checked one after the other. A passing check allocates nothing.
class TensorCheck {
 public:
  explicit TensorCheck(std::string_view op) : op_(op) {}

  // `tensor` has this type and these extents, lies on the same device as those checked before, is
  // aligned to its elements and has data, unless it has no elements.
  // Errors: invalid_argument.
  Result<void> check(std::string_view name, const DLTensor& tensor, ElementType type,
                     std::initializer_list<Extent> extents, Inner inner = Inner::dense);
  // The same for a tensor whose elements must lie densely, in row-major order.
  Result<void> check_dense(std::string_view name, const DLTensor& tensor, ElementType type,
                           std::initializer_list<Extent> extents);
  // Only the number of dimensions: to read extents from a tensor before checking the rest.
  Result<void> check_rank(std::string_view name, const DLTensor& tensor, int rank) const;

  // The type of `tensor`, one of `types`. Errors: invalid_argument.
  Result<ElementType> type_among(std::string_view name, const DLTensor& tensor,
                                 std::initializer_list<ElementType> types) const;

  // That there are sizes and none is negative, whatever their number: to read them before the rest.
  Result<void> check_sizes(std::string_view name, const DLTensor& tensor) const;

  // The device of the tensors that were checked.
  DLDevice device() const { return device_; }

 private:
  bool is_plain(const DLTensor& tensor, ElementType type,
                std::initializer_list<Extent> extents) const;
  tl::unexpected<Error> bad(std::string_view name, const std::string& what) const;
  Result<void> check_device(std::string_view name, const DLTensor& tensor);

  std::string_view op_;
  DLDevice device_{};
  std::string first_;  // the tensor that set device_; empty before the first check
};

// The address of a tensor's first element.
void* address_of(const DLTensor& tensor);
// The distance of neighbours in dimension `dim`, in elements; also for compact tensors that give
// no strides.
std::int64_t stride_of(const DLTensor& tensor, int dim);

}  // namespace kiln
