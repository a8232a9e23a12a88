// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_api.h"

#include <gtest/gtest.h>

#include <type_traits>

#if __has_include(<nvrtc.h>)
#include <nvrtc.h>
#define KILN_HAS_NVRTC_HEADER 1
#endif

namespace kiln {
namespace {

TEST(NvrtcApi, AMissingRequiredFunctionIsNamed) {
  const auto library = SharedLibrary::open(KILN_NVRTC_LACKING_REQUIRED);
  ASSERT_TRUE(library) << library.error().message;
  const auto api = NvrtcApi::load(*library);
  ASSERT_FALSE(api);
  EXPECT_EQ(api.error().code, ErrorCode::unavailable);
  EXPECT_NE(api.error().message.find("'nvrtcGetProgramLog'"), std::string::npos);
}

TEST(NvrtcApi, MissingOptionalFunctionsTurnOffFeatures) {
  const auto library = SharedLibrary::open(KILN_NVRTC_LACKING_OPTIONAL);
  ASSERT_TRUE(library) << library.error().message;
  const auto api = NvrtcApi::load(*library);
  ASSERT_TRUE(api) << api.error().message;
  EXPECT_EQ(api->missing,
            (std::vector<std::string>{"nvrtcGetCUBINSize", "nvrtcGetNumSupportedArchs",
                                      "nvrtcGetSupportedArchs"}));
  EXPECT_FALSE(api->makes_cubin());
  EXPECT_FALSE(api->lists_archs());
  EXPECT_NE(api->nvrtcCompileProgram, nullptr);
}

#ifdef KILN_HAS_NVRTC_HEADER

// Whether a value of one type is passed exactly as one of the other: the same type, enums and
// integers of one size, pointers to such, pointers to structs that neither side looks into.
template <class Ours, class Theirs>
constexpr bool passed_alike() {
  if constexpr (std::is_same_v<Ours, Theirs>) {
    return true;
  } else if constexpr (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) {
    using A = std::remove_pointer_t<Ours>;
    using B = std::remove_pointer_t<Theirs>;
    return std::is_const_v<A> == std::is_const_v<B> &&
           passed_alike<std::remove_const_t<A>, std::remove_const_t<B>>();
  } else if constexpr (std::is_class_v<Ours> && std::is_class_v<Theirs>) {
    return true;
  } else if constexpr (std::is_enum_v<Ours> && std::is_enum_v<Theirs>) {
    return sizeof(Ours) == sizeof(Theirs);
  } else {
    return false;
  }
}

template <class Ours, class Theirs>
struct SameInterface : std::false_type {};
template <class R1, class... P1, class R2, class... P2>
struct SameInterface<R1 (*)(P1...), R2 (*)(P2...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(P1) != sizeof...(P2)) {
      return false;
    } else {
      return passed_alike<R1, R2>() && (passed_alike<P1, P2>() && ...);
    }
  }();
};

static_assert(!SameInterface<NvrtcStatus (*)(int), nvrtcResult (*)(long)>::value);
static_assert(!SameInterface<NvrtcStatus (*)(char*), nvrtcResult (*)(const char*)>::value);
static_assert(!SameInterface<NvrtcStatus (*)(int), nvrtcResult (*)(int, int)>::value);

#define KILN_COMPARE(name, parameters)                                             \
  static_assert(SameInterface<decltype(NvrtcApi::name), decltype(&::name)>::value, \
                #name " is declared otherwise in <nvrtc.h>");
KILN_NVRTC_REQUIRED(KILN_COMPARE)
KILN_NVRTC_OPTIONAL(KILN_COMPARE)
#undef KILN_COMPARE

static_assert(int{kNvrtcSuccess} == NVRTC_SUCCESS);
static_assert(int{kNvrtcOutOfMemory} == NVRTC_ERROR_OUT_OF_MEMORY);
static_assert(int{kNvrtcInvalidOption} == NVRTC_ERROR_INVALID_OPTION);
static_assert(int{kNvrtcCompilation} == NVRTC_ERROR_COMPILATION);
static_assert(int{kNvrtcBuiltinOperationFailure} == NVRTC_ERROR_BUILTIN_OPERATION_FAILURE);
static_assert(int{kNvrtcNameExpressionNotValid} == NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID);

#endif

TEST(NvrtcApi, DeclarationsAreThoseOfTheToolkit) {
#ifndef KILN_HAS_NVRTC_HEADER
  GTEST_SKIP() << "no <nvrtc.h> on this machine";
#endif
}

}  // namespace
}  // namespace kiln
