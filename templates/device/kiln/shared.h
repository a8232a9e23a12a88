// SPDX-License-Identifier: Apache-2.0
// Shared memory, only through these accessors, so that the SIMT dialect can know each cell's last
// writer, the array's name and the source line; on a GPU they are the plain pointer.
//
//   KILN_SHARED(float, tile, 16 * 20);                 static, 16-byte aligned, uninitialised
//   KILN_SHARED_DYNAMIC(float, ring, 1024, 256);       256 floats, 1,024 bytes into the launch's
//                                                      dynamic shared memory
//   tile[i] = 2.0f;  tile[i] += x;  float y = tile[i];
//   tile.store_vector<4>(i, value);
#pragma once

#include "kiln/dialect.h"
#if KILN_CHECKED
#include "kiln/dialect/simt_checked.h"
#endif

namespace kiln {

#if !KILN_CHECKED  // the mode of the SIMT dialect that has classes of the same members

// One cell. Not a T&: kernels cannot take its address.
template <class T>
class SharedCell {
 public:
  KILN_DEVICE explicit SharedCell(T* cell) : cell_(cell) {}
  KILN_DEVICE operator T() const { return *cell_; }
  KILN_DEVICE void operator=(T value) const { *cell_ = value; }
  KILN_DEVICE void operator=(const SharedCell& other) const { *cell_ = *other.cell_; }
  KILN_DEVICE void operator+=(T value) const { *cell_ = *cell_ + value; }

 private:
  T* cell_;
};

template <class T>
class Shared {
 public:
  KILN_DEVICE Shared(T* data) : data_(data) {}

  KILN_DEVICE T load(Index i) const { return data_[i]; }
  KILN_DEVICE void store(Index i, T value) const { data_[i] = value; }
  KILN_DEVICE SharedCell<T> operator[](Index i) const { return SharedCell<T>(data_ + i); }

  // N elements from `i` on as one access of N * sizeof(T) bytes, aligned to as many.
  template <int N>
  KILN_DEVICE Vec<T, N> load_vector(Index i) const {
    using W = dialect::Word<int{sizeof(T)} * N>;
    return bit_cast<Vec<T, N>>(*reinterpret_cast<const W*>(data_ + i));
  }
  template <int N>
  KILN_DEVICE void store_vector(Index i, Vec<T, N> value) const {
    using W = dialect::Word<int{sizeof(T)} * N>;
    *reinterpret_cast<W*>(data_ + i) = bit_cast<W>(value);
  }

  // For the dialect layer: atomics, asynchronous copies and matrix loads.
  KILN_DEVICE T* raw(Index i) const { return data_ + i; }

 private:
  T* data_;
};

#endif

}  // namespace kiln
