// SPDX-License-Identifier: Apache-2.0
// Copies from global to shared memory that go on while the thread computes (cp.async); plain copies
// where the chip has none. What was copied may be read after async_wait and a barrier.
#pragma once

#include "kiln/global.h"
#include "kiln/shared.h"

namespace kiln {

// N elements (4, 8 or 16 bytes, aligned to as many on both sides); zeros where not `valid`.
template <int N, class T, class From>
KILN_DEVICE void async_copy(const Shared<T>& to, Index to_index, const Global<From>& from,
                            Index from_index, bool valid = true) {
  static_assert(is_same<T, remove_const<From>>, "a copy between arrays of one type");
  constexpr int bytes = int{sizeof(T)} * N;
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "copies of 4, 8 or 16 bytes");
  dialect::async_copy<bytes>(to.raw(to_index), from.raw(from_index), valid);
}

// Closes this thread's group of copies so far.
KILN_DEVICE void async_commit() {
  dialect::async_commit();
}
// Waits until at most `pending` of this thread's latest groups are under way.
template <int pending>
KILN_DEVICE void async_wait() {
  dialect::async_wait<pending>();
}

}  // namespace kiln
