// SPDX-License-Identifier: Apache-2.0
#include "jit/nvrtc_api.h"

#include <gtest/gtest.h>

#include "tests/support/same_abi.h"

#if __has_include(<nvrtc.h>)
#include <nvrtc.h>
#define KILN_HAS_NVRTC_HEADER 1
#endif

namespace kiln {
namespace {

TEST(NvrtcApi, AMissingRequiredFunctionIsNamed) {
  const auto library = SharedLibrary::open(KILN_STUBS "/nvrtc-lacks-required/libnvrtc.so");
  ASSERT_TRUE(library) << library.error().message;
  const auto api = NvrtcApi::load(*library);
  ASSERT_FALSE(api);
  EXPECT_EQ(api.error().code, ErrorCode::unavailable);
  EXPECT_NE(api.error().message.find("'nvrtcGetProgramLog'"), std::string::npos);
}

TEST(NvrtcApi, MissingOptionalFunctionsTurnOffFeatures) {
  const auto library = SharedLibrary::open(KILN_STUBS "/nvrtc-11.0/libnvrtc.so");
  ASSERT_TRUE(library) << library.error().message;
  const auto api = NvrtcApi::load(*library);
  ASSERT_TRUE(api) << api.error().message;
  EXPECT_EQ(api->missing,
            (std::vector<std::string>{"nvrtcGetCUBINSize", "nvrtcGetCUBIN",
                                      "nvrtcGetNumSupportedArchs", "nvrtcGetSupportedArchs"}));
  EXPECT_FALSE(api->makes_cubin());
  EXPECT_FALSE(api->lists_archs());
  EXPECT_NE(api->nvrtcCompileProgram, nullptr);
}

#ifdef KILN_HAS_NVRTC_HEADER

#define KILN_COMPARE(name, parameters)                                             \
  static_assert(test::SameAbi<decltype(NvrtcApi::name), decltype(&::name)>::value, \
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
