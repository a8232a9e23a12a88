// SPDX-License-Identifier: Apache-2.0
// Atomic operations on one element of global or shared memory, relaxed, device-wide. Each returns
// the value before. add: i32, u32, i64, u64, float; the others: i32, u32.
#pragma once

#include "kiln/global.h"
#include "kiln/shared.h"

namespace kiln {

template <template <class> class Memory, class T>
KILN_DEVICE T atomic_add(const Memory<T>& memory, Index i, T value) {
  return dialect::atomic_add(memory.raw(i), value);
}
template <template <class> class Memory, class T>
KILN_DEVICE T atomic_min(const Memory<T>& memory, Index i, T value) {
  return dialect::atomic_min(memory.raw(i), value);
}
template <template <class> class Memory, class T>
KILN_DEVICE T atomic_max(const Memory<T>& memory, Index i, T value) {
  return dialect::atomic_max(memory.raw(i), value);
}
template <template <class> class Memory, class T>
KILN_DEVICE T atomic_exchange(const Memory<T>& memory, Index i, T value) {
  return dialect::atomic_exchange(memory.raw(i), value);
}
// Stores `value` where `expected` was.
template <template <class> class Memory, class T>
KILN_DEVICE T atomic_compare_exchange(const Memory<T>& memory, Index i, T expected, T value) {
  return dialect::atomic_compare_exchange(memory.raw(i), expected, value);
}

}  // namespace kiln
