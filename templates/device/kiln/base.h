// SPDX-License-Identifier: Apache-2.0
// What every device-side header stands on: fixed-width types, storage types, and KILN_DEVICE.
// Kernels are compiled with no toolkit or system header, so all of it is Kiln's own.
#pragma once

#if KILN_DIALECT_CUDA + KILN_DIALECT_HIP + KILN_DIALECT_SIMT + KILN_DIALECT_CPU != 1
#error "define exactly one of KILN_DIALECT_CUDA, _HIP, _SIMT, _CPU (templates/registry.h does)"
#endif

// Marks a function that kernels call. All of them are inlined: accessors and fragments are then
// free, and no calling convention of a vendor can get between.
#if KILN_DIALECT_CUDA
#define KILN_DEVICE __device__ __forceinline__
#elif KILN_DIALECT_HIP
// Host as well: constants outside of functions are initialized by constexpr ones.
#define KILN_DEVICE __attribute__((host, device, always_inline)) inline
#else
#define KILN_DEVICE __attribute__((always_inline)) inline
#endif

namespace kiln {

using i8 = signed char;
using u8 = unsigned char;
using i16 = short;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;
static_assert(sizeof(i16) == 2 && sizeof(i32) == 4 && sizeof(i64) == 8 && sizeof(void*) == 8, "");

// Storage only: arithmetic is done in float. Plain structs on every dialect, so that arrays of
// them may lie in shared memory and no vendor's overload set joins in.
struct alignas(2) bf16 {
  u16 bits;
};
struct alignas(2) f16 {
  u16 bits;
};

template <class A, class B>
inline constexpr bool is_same = false;
template <class A>
inline constexpr bool is_same<A, A> = true;

template <class T>
struct remove_const_t {
  using type = T;
};
template <class T>
struct remove_const_t<const T> {
  using type = T;
};
template <class T>
using remove_const = typename remove_const_t<T>::type;

template <class To, class From>
KILN_DEVICE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast between types of different size");
  To to;
#if KILN_DIALECT_CUDA
  memcpy(&to, &from, sizeof to);  // NVRTC's own; it has no __builtin_memcpy
#else
  __builtin_memcpy(&to, &from, sizeof to);
#endif
  return to;
}

// T values that move as one load or store; sizeof is a power of two up to 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0, "a vector of 2, 4, 8 or 16 bytes");
  T values[N];
  KILN_DEVICE T& operator[](int i) { return values[i]; }
  KILN_DEVICE const T& operator[](int i) const { return values[i]; }
};

template <class T>
KILN_DEVICE constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
KILN_DEVICE constexpr T max(T a, T b) {
  return a < b ? b : a;
}
template <class T>
KILN_DEVICE constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace kiln
