// SPDX-License-Identifier: Apache-2.0
// The primitives of kiln/dialect/cuda.h on fibers of the CPU. KILN_WARP_SIZE is 32 (as on NVIDIA)
// or 64 (as on AMD's gfx9); with KILN_CHECKED, memory goes through kiln/dialect/simt_checked.h.
#pragma once

#include "kiln/base.h"
#include "kiln/simt_abi.h"

// By reference: the host's copy of the parameters outlives the launch and nobody writes it.
#define KILN_KERNEL(threads_max, blocks_min) void
#define KILN_PARAMS(type) const type&

#define KILN_SHARED(type, name, count) \
  static char name##_key;              \
  const ::kiln::Shared<type> name =    \
      ::kiln::dialect::static_shared<type>(&name##_key, #name, static_cast<::kiln::i64>(count))
#define KILN_SHARED_DYNAMIC(type, name, offset_bytes, count)               \
  const ::kiln::Shared<type> name = ::kiln::dialect::dynamic_shared<type>( \
      #name, static_cast<::kiln::i64>(offset_bytes), static_cast<::kiln::i64>(count))

#ifndef KILN_CHECKED
#define KILN_CHECKED 0
#endif
#ifndef KILN_DEBUG
#define KILN_DEBUG 0
#endif

namespace kiln {

template <class T>
class Shared;

namespace dialect {

__attribute__((used)) inline const KilnSimtMark object_mark = {
    {'k', 'i', 'l', 'n', ' ', 's', 'i', 'm', 't', ' ', 'm', 'a', 'r', 'k', '\n', '\0'},
    kKilnSimtAbiVersion,
    KILN_WARP_SIZE,
    KILN_CHECKED,
    KILN_DEBUG};

#if KILN_WARP_SIZE == 64
using LaneMask = u64;
#else
using LaneMask = u32;
#endif
inline constexpr int lanes = KILN_WARP_SIZE;

// As on the GPU with warps of this size.
inline constexpr bool has_named_barriers = lanes == 32;
inline constexpr bool has_async_copy = lanes == 32;
inline constexpr bool has_dependent_launch = false;

// Always the same in one fiber, which the compiler may know: no input, not volatile.
KILN_DEVICE KilnSimtThread* self() {
  u64 stack;
  asm("movq %%rsp, %0" : "=r"(stack));
  const u64 region = stack & ~(kKilnSimtRegionBytes - 1);
  const u64 slot = (stack / kKilnSimtStackBytes) % kKilnSimtSlots;
  return reinterpret_cast<KilnSimtThread*>(region + slot * kKilnSimtThreadBytes);
}
KILN_DEVICE const KilnSimtHost& host() {
  return *self()->host;
}

#if KILN_DEBUG
// For people at a debugger, who can call only what was not inlined.
__attribute__((used, noinline)) inline const KilnSimtThread& this_thread() {
  return *self();
}
#endif

#if KILN_CHECKED
// An element number and where the kernel wrote it down.
struct Index {
  i64 value;
  KilnSimtSite site;
  template <class Number>
  KILN_DEVICE Index(Number number, const char* file = __builtin_FILE(), u32 line = __builtin_LINE())
      : value(static_cast<i64>(number)), site{file, line} {}
  KILN_DEVICE operator i64() const { return value; }
};
#else
using Index = i64;
#endif

// As a default argument it tells the host where a kernel called a function that waits.
struct Site {
  KILN_DEVICE Site(const char* file = __builtin_FILE(), u32 line = __builtin_LINE()) {
    self()->site = {file, line};
  }
};

KILN_DEVICE u32 thread_x() {
  return self()->thread[0];
}
KILN_DEVICE u32 thread_y() {
  return self()->thread[1];
}
KILN_DEVICE u32 thread_z() {
  return self()->thread[2];
}
KILN_DEVICE u32 block_x() {
  return self()->block[0];
}
KILN_DEVICE u32 block_y() {
  return self()->block[1];
}
KILN_DEVICE u32 block_z() {
  return self()->block[2];
}
KILN_DEVICE u32 threads_x() {
  return self()->threads[0];
}
KILN_DEVICE u32 threads_y() {
  return self()->threads[1];
}
KILN_DEVICE u32 threads_z() {
  return self()->threads[2];
}
KILN_DEVICE u32 blocks_x() {
  return self()->blocks[0];
}
KILN_DEVICE u32 blocks_y() {
  return self()->blocks[1];
}
KILN_DEVICE u32 blocks_z() {
  return self()->blocks[2];
}

// The checked mode sees whether the value is the same in all lanes.
KILN_DEVICE u32 warp_uniform(u32 value) {
#if KILN_CHECKED
  return host().warp_uniform(self(), value);
#else
  return value;
#endif
}

template <class T>
KILN_DEVICE Shared<T> static_shared(const void* key, const char* name, i64 count, Site = {}) {
  void* data = host().shared_static(self(), key, name, static_cast<u64>(count) * sizeof(T));
#if KILN_CHECKED
  return Shared<T>(static_cast<T*>(data), count, name);
#else
  return Shared<T>(static_cast<T*>(data));
#endif
}
template <class T>
KILN_DEVICE Shared<T> dynamic_shared(const char* name, i64 offset_bytes, i64 count, Site = {}) {
  void* data =
      host().shared_dynamic(self(), name, offset_bytes, static_cast<u64>(count) * sizeof(T));
#if KILN_CHECKED
  return Shared<T>(static_cast<T*>(data), count, name);
#else
  return Shared<T>(static_cast<T*>(data));
#endif
}

KILN_DEVICE void block_barrier() {
  host().block_barrier(self());
}
KILN_DEVICE void warp_barrier(LaneMask mask) {
  host().warp_barrier(self(), mask);
}
KILN_DEVICE void named_barrier(int id, int threads) {
  host().named_barrier(self(), id, threads);
}

KILN_DEVICE int own_lane() {
  return static_cast<int>(self()->rank % lanes);
}
KILN_DEVICE u32 shuffle_xor(LaneMask mask, u32 value, int lane_mask, int width) {
  const int lane = own_lane();
  const int source = lane ^ lane_mask;
  // Beyond the end of the group: its own value. Groups before are in reach, as on NVIDIA.
  const bool within = source < ((lane & -width) + width);
  return host().shuffle(self(), mask, value, within ? source : lane);
}
KILN_DEVICE u32 shuffle_down(LaneMask mask, u32 value, int delta, int width) {
  const int lane = own_lane();
  const bool within = (lane & (width - 1)) + delta < width;
  return host().shuffle(self(), mask, value, within ? lane + delta : lane);
}
KILN_DEVICE u32 shuffle_idx(LaneMask mask, u32 value, int source, int width) {
  return host().shuffle(self(), mask, value, (own_lane() & -width) + (source & (width - 1)));
}
KILN_DEVICE LaneMask ballot(LaneMask mask, bool vote) {
  return host().ballot(self(), mask, vote ? 1 : 0);
}

// What a lane holds of a matrix, as the host reads it: N words of 2 elements.
template <int N>
struct MatrixPart {
  u32 bits[N];
#if KILN_CHECKED
  KilnSimtOrigin origins[2 * N];
  KILN_DEVICE KilnSimtOrigin* names() {
    return origins;
  }
#else
  KILN_DEVICE KilnSimtOrigin* names() {
    return nullptr;
  }
#endif

  MatrixPart() = default;
  template <class Word>
  KILN_DEVICE explicit MatrixPart(const Word (&words)[N]) {
    for (int i = 0; i < N; ++i) {
      bits[i] = words[i].bits;
#if KILN_CHECKED
      for (int half = 0; half < 2; ++half) origins[2 * i + half] = words[i].origins[half];
#endif
    }
  }
  template <class Word>
  KILN_DEVICE void give(Word (&words)[N]) const {
    for (int i = 0; i < N; ++i) {
      words[i].bits = bits[i];
#if KILN_CHECKED
      for (int half = 0; half < 2; ++half) words[i].origins[half] = origins[2 * i + half];
#endif
    }
  }
};

template <class Word, int a_words, int b_words>
KILN_DEVICE void matrix(KilnSimtMatrix kind, const Word (&a)[a_words], const Word (&b)[b_words],
                        const float* c, float* d) {
  MatrixPart<a_words> own_a(a);
  MatrixPart<b_words> own_b(b);
  const KilnSimtMatrixOperands operands = {own_a.bits, own_b.bits,    c,
                                           d,          own_a.names(), own_b.names()};
  host().matrix(self(), kind, &operands);
}
// Rows are read by the lanes that give them, then all lanes exchange.
template <class Word, int count>
KILN_DEVICE void load_matrix(bool transpose, const Word (&row)[4], Word (&words)[count]) {
  MatrixPart<4> own(row);
  MatrixPart<count> got;
  const KilnSimtMatrixLoad load = {count,    transpose ? 1 : 0, own.bits,
                                   got.bits, own.names(),       got.names()};
  host().load_matrix(self(), &load);
  got.give(words);
}
KILN_DEVICE void matrix_value(KilnSimtMatrix kind, int i, int row, int column) {
#if KILN_CHECKED
  host().matrix_value(self(), kind, i, row, column);
#else
  (void)kind, (void)i, (void)row, (void)column;
#endif
}

// Raw words, by the number of bytes that move at once.
template <int bytes>
struct WordOf;
template <>
struct WordOf<2> {
  using type = u16;
};
template <>
struct WordOf<4> {
  using type = u32;
};
template <>
struct WordOf<8> {
  typedef u32 type __attribute__((ext_vector_type(2)));
};
template <>
struct WordOf<16> {
  typedef u32 type __attribute__((ext_vector_type(4)));
};
template <int bytes>
using Word = typename WordOf<bytes>::type;

template <class W>
KILN_DEVICE W load_readonly(const W* from) {
  return *from;
}
template <class W>
KILN_DEVICE W load_streaming(const W* from) {
  return *from;
}
template <class W>
KILN_DEVICE void store_streaming(W* to, W value) {
  *to = value;
}

// `change` gives the new value for an old one; other blocks run on other cores meanwhile.
template <class T, class Change>
KILN_DEVICE T atomic_change(T* to, Change change) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics on 4 or 8 bytes");
  T old;
  __atomic_load(to, &old, __ATOMIC_RELAXED);
  for (;;) {
    T next = change(old);
    if (__atomic_compare_exchange(to, &old, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      return old;
    }
  }
}
template <class T>
KILN_DEVICE T atomic_add(T* to, T value) {
  return atomic_change(to, [value](T old) { return old + value; });
}
template <class T>
KILN_DEVICE T atomic_min(T* to, T value) {
  return atomic_change(to, [value](T old) { return value < old ? value : old; });
}
template <class T>
KILN_DEVICE T atomic_max(T* to, T value) {
  return atomic_change(to, [value](T old) { return old < value ? value : old; });
}
template <class T>
KILN_DEVICE T atomic_exchange(T* to, T value) {
  return atomic_change(to, [value](T) { return value; });
}
template <class T>
KILN_DEVICE T atomic_compare_exchange(T* to, T expected, T value) {
  return atomic_change(to, [=](T old) { return old == expected ? value : old; });
}
KILN_DEVICE void device_fence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

template <int bytes>
KILN_DEVICE void async_copy(void* shared, const void* global, bool valid) {
  host().async_copy(self(), shared, global, bytes, valid ? 1 : 0);
}
KILN_DEVICE void async_commit() {
  host().async_commit(self());
}
template <int pending>
KILN_DEVICE void async_wait() {
  host().async_wait(self(), pending);
}

KILN_DEVICE void dependency_wait() {}
KILN_DEVICE void launch_dependents() {}

}  // namespace dialect
}  // namespace kiln
