// SPDX-License-Identifier: Apache-2.0
// Global memory, by pointer and element number. Kernels go through this accessor and not through
// the bare pointer, so that the SIMT dialect can check each access against the tensors handed in.
#pragma once

#include "kiln/dialect.h"
#if KILN_CHECKED
#include "kiln/dialect/simt_checked.h"
#endif

namespace kiln {

#if !KILN_CHECKED  // the mode of the SIMT dialect that has a class of the same members

template <class T>
class Global {
 public:
  using Value = remove_const<T>;

  KILN_DEVICE explicit Global(T* data) : data_(data) {}
  // The same memory from element `offset` on.
  KILN_DEVICE Global from(i64 offset) const { return Global(data_ + offset); }

  KILN_DEVICE Value load(Index i) const { return data_[i]; }
  KILN_DEVICE void store(Index i, Value value) const { data_[i] = value; }

  // N elements from `i` on as one access of N * sizeof(T) bytes, aligned to as many.
  template <int N, Cache cache = Cache::normal>
  KILN_DEVICE Vec<Value, N> load_vector(Index i) const {
    using W = dialect::Word<int{sizeof(T)} * N>;
    const W* word = reinterpret_cast<const W*>(data_ + i);
    if constexpr (cache == Cache::readonly) {
      return bit_cast<Vec<Value, N>>(dialect::load_readonly(word));
    } else if constexpr (cache == Cache::streaming) {
      return bit_cast<Vec<Value, N>>(dialect::load_streaming(word));
    } else {
      return bit_cast<Vec<Value, N>>(*word);
    }
  }
  template <int N, Cache cache = Cache::normal>
  KILN_DEVICE void store_vector(Index i, Vec<Value, N> value) const {
    using W = dialect::Word<int{sizeof(T)} * N>;
    W* word = reinterpret_cast<W*>(data_ + i);
    if constexpr (cache == Cache::streaming) {
      dialect::store_streaming(word, bit_cast<W>(value));
    } else {
      *word = bit_cast<W>(value);
    }
  }
  // Whether a vector access of `bytes` at `i` is aligned.
  KILN_DEVICE bool aligned(Index i, int bytes) const {
    return (reinterpret_cast<u64>(data_ + i) & static_cast<u64>(bytes - 1)) == 0;
  }

  // For the dialect layer: atomics and asynchronous copies.
  KILN_DEVICE T* raw(Index i) const { return data_ + i; }

 private:
  T* data_;
};

#endif

}  // namespace kiln
