// SPDX-License-Identifier: Apache-2.0
// Bytes that are written as a whole before they are read, such as those of a file.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "jit/base/bytes.h"

namespace kiln {

// Leaves elements that are made from nothing as they are, where std::allocator fills with zeros.
template <class T>
struct UnfilledAllocator : std::allocator<T> {
  template <class Other>
  struct rebind {
    using other = UnfilledAllocator<Other>;
  };
  template <class Other>
  void construct(Other* place) noexcept {
    ::new (static_cast<void*>(place)) Other;
  }
  template <class Other, class... From>
  void construct(Other* place, From&&... from) {
    std::construct_at(place, std::forward<From>(from)...);
  }
};

// The bytes that resize() adds hold anything until they are written.
using UnfilledBytes = std::vector<std::byte, UnfilledAllocator<std::byte>>;

inline UnfilledBytes to_unfilled_bytes(ByteView view) {
  return UnfilledBytes(view.begin(), view.end());
}

}  // namespace kiln
