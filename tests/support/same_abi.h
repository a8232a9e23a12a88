// SPDX-License-Identifier: Apache-2.0
// Whether two declarations of a C function are called alike: what Kiln declares itself against a
// vendor's header, whose types have other names.
#pragma once

#include <type_traits>

namespace kiln::test {

template <class A, class B>
constexpr bool same_parameter() {
  if constexpr (std::is_pointer_v<A> && std::is_pointer_v<B>) {
    using TargetA = std::remove_pointer_t<A>;
    using TargetB = std::remove_pointer_t<B>;
    // What is written through a pointer must have its size; structs are known by name alone.
    if constexpr (std::is_const_v<TargetA> != std::is_const_v<TargetB>) {
      return false;
    } else if constexpr (std::is_scalar_v<TargetA> && std::is_scalar_v<TargetB>) {
      return same_parameter<std::remove_cv_t<TargetA>, std::remove_cv_t<TargetB>>();
    } else {
      return std::is_scalar_v<TargetA> == std::is_scalar_v<TargetB>;
    }
  } else if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>) {
    return false;
  } else {
    return sizeof(A) == sizeof(B) && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
  }
}

template <class A, class B>
struct SameAbi : std::false_type {};

template <class ResultA, class... A, class ResultB, class... B>
requires(sizeof...(A) == sizeof...(B)) struct SameAbi<ResultA (*)(A...), ResultB (*)(B...)>
    : std::bool_constant<same_parameter<ResultA, ResultB>() && (same_parameter<A, B>() && ...)> {
};

static_assert(SameAbi<int (*)(char*, long), unsigned (*)(char*, unsigned long)>::value);
static_assert(!SameAbi<int (*)(char*, long), int (*)(char*, int)>::value);
static_assert(!SameAbi<int (*)(long*), int (*)(int*)>::value);
static_assert(!SameAbi<int (*)(char*), int (*)(char)>::value);
static_assert(!SameAbi<int (*)(void*), int (*)(const void*)>::value);
static_assert(!SameAbi<int (*)(char*), int (*)(char*, int)>::value);

}  // namespace kiln::test
