// SPDX-License-Identifier: Apache-2.0
// Vectors of the native CPU to and from memory, and sums over their lanes.
#pragma once

#include "kiln/float_bits.h"

namespace kiln {

typedef u16 Shorts __attribute__((ext_vector_type(vector_lanes)));

// One access of vector_lanes elements; no alignment is asked for.
KILN_DEVICE Floats load(const float* from) {
  Floats x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
KILN_DEVICE void store(float* to, Floats x) {
  __builtin_memcpy(to, &x, sizeof x);
}
KILN_DEVICE Floats load(const bf16* from) {
  Shorts bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return soft::from_bf16_bits<Floats>(__builtin_convertvector(bits, Uints));
}
namespace cpu_vector_detail {
KILN_DEVICE void store_by_integers(bf16* to, Floats x) {
  const Shorts bits = __builtin_convertvector(soft::bf16_bits(x), Shorts);
  __builtin_memcpy(to, &bits, sizeof bits);
}
#if defined(__AVX512BF16__)
typedef __bf16 Bfloats __attribute__((vector_size(2 * vector_lanes)));
KILN_DEVICE u32 denormals(Floats x) {
  return __builtin_ia32_fpclassps512_mask(x, 0x20, 0xffff);
}
#endif
}  // namespace cpu_vector_detail

// Vector i to to[i].
template <int count>
KILN_DEVICE void store_all(float* const (&to)[count], const Floats (&x)[count]) {
#pragma clang loop unroll(full)
  for (int i = 0; i < count; ++i) store(to[i], x[i]);
}
// The processor's own conversion takes denormals for zeros, so one look at them all decides.
template <int count>
KILN_DEVICE void store_all(bf16* const (&to)[count], const Floats (&x)[count]) {
#if defined(__AVX512BF16__)
  u32 denormals = 0;
#pragma clang loop unroll(full)
  for (int i = 0; i < count; ++i) denormals |= cpu_vector_detail::denormals(x[i]);
  if (__builtin_expect(denormals == 0, 1)) {
#pragma clang loop unroll(full)
    for (int i = 0; i < count; ++i) {
      const auto bits =
          __builtin_ia32_cvtneps2bf16_512_mask(x[i], cpu_vector_detail::Bfloats{}, 0xffff);
      __builtin_memcpy(to[i], &bits, sizeof bits);
    }
    return;
  }
#endif
#pragma clang loop unroll(full)
  for (int i = 0; i < count; ++i) cpu_vector_detail::store_by_integers(to[i], x[i]);
}
KILN_DEVICE void store(bf16* to, Floats x) {
  store_all<1>({to}, {x});
}
#if defined(__F16C__)
typedef _Float16 Halves __attribute__((ext_vector_type(vector_lanes)));
KILN_DEVICE Floats load(const f16* from) {
  Halves x;
  __builtin_memcpy(&x, from, sizeof x);
  return __builtin_convertvector(x, Floats);
}
KILN_DEVICE void store(f16* to, Floats x) {
  const Halves half = __builtin_convertvector(x, Halves);
  __builtin_memcpy(to, &half, sizeof half);
}
#else
KILN_DEVICE Floats load(const f16* from) {
  Shorts bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return soft::from_f16_bits<Floats>(__builtin_convertvector(bits, Uints));
}
KILN_DEVICE void store(f16* to, Floats x) {
  const Shorts bits = __builtin_convertvector(soft::f16_bits(x), Shorts);
  __builtin_memcpy(to, &bits, sizeof bits);
}
#endif

// 2 * vector_lanes neighbouring elements in two vectors, in the order in which elements of type
// Order come from memory at least cost: bf16 the even ones and then the odd ones, since a word of
// memory holds one of each and no lane has to move; others as they lie.
struct FloatsPair {
  Floats one, two;
};

namespace cpu_vector_detail {
KILN_DEVICE FloatsPair apart(FloatsPair in_row) {
  FloatsPair pair;
#pragma clang loop unroll(full)
  for (int i = 0; i < vector_lanes / 2; ++i) {
    pair.one[i] = in_row.one[2 * i];
    pair.two[i] = in_row.one[2 * i + 1];
    pair.one[vector_lanes / 2 + i] = in_row.two[2 * i];
    pair.two[vector_lanes / 2 + i] = in_row.two[2 * i + 1];
  }
  return pair;
}
KILN_DEVICE FloatsPair in_row(FloatsPair apart) {
  FloatsPair pair;
#pragma clang loop unroll(full)
  for (int i = 0; i < vector_lanes / 2; ++i) {
    pair.one[2 * i] = apart.one[i];
    pair.one[2 * i + 1] = apart.two[i];
    pair.two[2 * i] = apart.one[vector_lanes / 2 + i];
    pair.two[2 * i + 1] = apart.two[vector_lanes / 2 + i];
  }
  return pair;
}
KILN_DEVICE Uints pair_bits_by_integers(FloatsPair x) {
  return soft::bf16_bits(x.one) | soft::bf16_bits(x.two) << 16;
}
}  // namespace cpu_vector_detail

template <class Order, class T>
KILN_DEVICE FloatsPair load_pair(const T* from) {
  if constexpr (is_same<Order, bf16> && is_same<T, bf16>) {
    Uints bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return {bit_cast<Floats>(bits << 16), bit_cast<Floats>(bits & Uints(0xffff0000u))};
  } else {
    const FloatsPair pair{load(from), load(from + vector_lanes)};
    if constexpr (is_same<Order, bf16>) return cpu_vector_detail::apart(pair);
    return pair;
  }
}

// Pair i to to[i].
template <class Order, class T, int count>
KILN_DEVICE void store_pairs(T* const (&to)[count], const FloatsPair (&x)[count]) {
  if constexpr (is_same<Order, bf16> && is_same<T, bf16>) {
#if defined(__AVX512BF16__)
    u32 denormals = 0;  // as in store_all()
#pragma clang loop unroll(full)
    for (int i = 0; i < count; ++i) {
      denormals |= cpu_vector_detail::denormals(x[i].one) | cpu_vector_detail::denormals(x[i].two);
    }
    if (__builtin_expect(denormals == 0, 1)) {
#pragma clang loop unroll(full)
      for (int i = 0; i < count; ++i) {
        const auto bits = __builtin_ia32_cvtne2ps2bf16_512(x[i].two, x[i].one);
        const auto words = __builtin_shufflevector(bits, bits, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                                   21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27,
                                                   12, 28, 13, 29, 14, 30, 15, 31);
        __builtin_memcpy(to[i], &words, sizeof words);
      }
      return;
    }
#endif
#pragma clang loop unroll(full)
    for (int i = 0; i < count; ++i) {
      const Uints bits = cpu_vector_detail::pair_bits_by_integers(x[i]);
      __builtin_memcpy(to[i], &bits, sizeof bits);
    }
  } else {
#pragma clang loop unroll(full)
    for (int i = 0; i < count; ++i) {
      FloatsPair pair = x[i];
      if constexpr (is_same<Order, bf16>) pair = cpu_vector_detail::in_row(pair);
      store(to[i], pair.one);
      store(to[i] + vector_lanes, pair.two);
    }
  }
}
template <class Order, class T>
KILN_DEVICE void store_pair(T* to, FloatsPair x) {
  store_pairs<Order, T, 1>({to}, {x});
}

// A store past the caches, for what is not read again soon; aligned to the vector's size.
KILN_DEVICE void store_streaming(float* to, Floats x) {
  __builtin_nontemporal_store(x, reinterpret_cast<Floats*>(to));
}

// Four lanes, each the sum of the lanes that fall on it.
typedef float Floats4 __attribute__((ext_vector_type(4)));
KILN_DEVICE Floats4 fold4(Floats x) {
#if defined(__AVX512F__)
  const auto half = x.lo + x.hi;
  return half.lo + half.hi;
#elif defined(__AVX2__)
  return x.lo + x.hi;
#else
  return x;
#endif
}
KILN_DEVICE float horizontal_sum(Floats x) {
  const Floats4 four = fold4(x);
  const auto two = four.lo + four.hi;
  return two.x + two.y;
}
KILN_DEVICE float horizontal_max(Floats x) {
  const auto larger = [](auto a, auto b) { return a < b ? b : a; };
#if defined(__AVX512F__)
  const auto eight = larger(x.lo, x.hi);
  const Floats4 four = larger(eight.lo, eight.hi);
#elif defined(__AVX2__)
  const Floats4 four = larger(x.lo, x.hi);
#else
  const Floats4 four = x;
#endif
  const auto two = larger(four.lo, four.hi);
  return two.x < two.y ? two.y : two.x;
}
// The sums of four vectors at once, at little more than the price of one.
KILN_DEVICE Floats4 horizontal_sums(Floats a, Floats b, Floats c, Floats d) {
  const Floats4 a4 = fold4(a), b4 = fold4(b), c4 = fold4(c), d4 = fold4(d);
  const Floats4 ab =
      __builtin_shufflevector(a4, b4, 0, 1, 4, 5) + __builtin_shufflevector(a4, b4, 2, 3, 6, 7);
  const Floats4 cd =
      __builtin_shufflevector(c4, d4, 0, 1, 4, 5) + __builtin_shufflevector(c4, d4, 2, 3, 6, 7);
  return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

// Asks for the cache line at `address`.
KILN_DEVICE void prefetch(const void* address) {
  __builtin_prefetch(address, 0, 3);
}
// Into the second-level cache: for more than the first level holds.
KILN_DEVICE void prefetch_far(const void* address) {
  __builtin_prefetch(address, 0, 2);
}

}  // namespace kiln
