// SPDX-License-Identifier: Apache-2.0
// A CPU tensor whose rows may lie anywhere in its memory, filled with 0xff (NaN) where nobody put a
// number: what a kernel writes beside its rows is seen.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "runtime/reference/elements.h"
#include "runtime/reference/trial_tensor.h"

namespace kiln::test {

class StridedTensor {
 public:
  using Index = std::vector<std::int64_t>;

  // `offset` elements lie before the first; no strides: dense, row-major.
  StridedTensor(ElementType type, Index shape, Index strides = {}, std::int64_t offset = 0)
      : type_(type), shape_(std::move(shape)), strides_(std::move(strides)), offset_(offset) {
    if (strides_.empty()) {
      strides_.assign(shape_.size(), 1);
      for (std::size_t i = shape_.size() - 1; i > 0; --i) {
        strides_[i - 1] = strides_[i] * shape_[i];
      }
    }
    std::int64_t last = offset_ + kElementsAfter;
    for (std::size_t i = 0; i < shape_.size(); ++i) last += shape_[i] * strides_[i];
    memory_.assign(static_cast<std::size_t>(last) * size_bytes_of(type_), std::byte{0xff});
  }

  // Each element from `number`, in row-major order.
  void fill(const std::function<float()>& number) {
    for_each([&](std::int64_t at) { put(at, number()); });
  }
  // All elements of row `i` of the first dimension.
  void fill_row(std::int64_t i, float number) {
    for_each([&](std::int64_t at) { put(at, number); }, 1, i * strides_[0]);
  }
  std::vector<double> values() const {
    std::vector<double> all;
    for_each([&](std::int64_t at) { all.push_back(element_of(type_, memory_.data(), at)); });
    return all;
  }
  // Of a tensor of integers.
  template <class T>
  std::vector<T> values_as() const {
    std::vector<T> all;
    for_each([&](std::int64_t at) {
      T value;
      std::memcpy(&value, memory_.data() + static_cast<std::size_t>(at) * sizeof value,
                  sizeof value);
      all.push_back(value);
    });
    return all;
  }
  // Whether everything beside the elements is still 0xff.
  bool rest_is_untouched() const {
    Bytes rest = memory_;
    const std::size_t size = size_bytes_of(type_);
    for_each([&](std::int64_t at) {
      std::fill_n(rest.begin() + at * static_cast<std::int64_t>(size), size, std::byte{0xff});
    });
    return std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{0xff}; });
  }

  // Valid as long as this tensor.
  DLTensor dl() {
    DLTensor tensor{};
    tensor.data = memory_.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int>(shape_.size());
    tensor.dtype = type_ == ElementType::bf16  ? DLDataType{kDLBfloat, 16, 1}
                   : type_ == ElementType::f16 ? DLDataType{kDLFloat, 16, 1}
                   : type_ == ElementType::i32 ? DLDataType{kDLInt, 32, 1}
                   : type_ == ElementType::i64 ? DLDataType{kDLInt, 64, 1}
                                               : DLDataType{kDLFloat, 32, 1};
    tensor.shape = shape_.data();
    tensor.strides = strides_.data();
    tensor.byte_offset = static_cast<std::uint64_t>(offset_) * size_bytes_of(type_);
    return tensor;
  }

  ElementType type() const { return type_; }
  Index& shape() { return shape_; }
  const Index& shape() const { return shape_; }
  Index& strides() { return strides_; }
  const Bytes& memory() const { return memory_; }

 private:
  static constexpr std::int64_t kElementsAfter = 8;

  void for_each(const std::function<void(std::int64_t)>& visit, std::size_t dim = 0,
                std::int64_t at = 0) const {
    if (dim == shape_.size()) return visit(offset_ + at);
    for (std::int64_t i = 0; i < shape_[dim]; ++i) for_each(visit, dim + 1, at + i * strides_[dim]);
  }
  void put(std::int64_t at, float value) {
    std::byte* to = memory_.data() + static_cast<std::size_t>(at) * size_bytes_of(type_);
    if (type_ == ElementType::f32) {
      std::memcpy(to, &value, sizeof value);
    } else if (type_ == ElementType::i32) {
      const auto whole = static_cast<std::int32_t>(value);
      std::memcpy(to, &whole, sizeof whole);
    } else if (type_ == ElementType::i64) {
      const auto whole = static_cast<std::int64_t>(value);
      std::memcpy(to, &whole, sizeof whole);
    } else if (type_ == ElementType::f16) {
      const auto half = static_cast<_Float16>(value);
      std::memcpy(to, &half, sizeof half);
    } else {
      const std::uint16_t bits = bf16_of(value);
      std::memcpy(to, &bits, sizeof bits);
    }
  }

  ElementType type_;
  Index shape_;
  Index strides_;
  std::int64_t offset_;
  Bytes memory_;
};

}  // namespace kiln::test
