// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_api.h"

#include <gtest/gtest.h>

#include "jit/comgr_api.h"
#include "tests/support/same_abi.h"

#if __has_include(<hip/hiprtc.h>)
#define __HIP_PLATFORM_AMD__ 1
#include <hip/hiprtc.h>
#define KILN_HAS_HIPRTC_HEADER 1
#endif
#if __has_include(<amd_comgr.h>)
#include <amd_comgr.h>
#define KILN_HAS_COMGR_HEADER 1
#endif

namespace kiln::test {
namespace {

TEST(HiprtcApi, AMissingFunctionIsNamed) {
  const auto library = SharedLibrary::open(KILN_STUBS "/rocm-lacks-required/libhiprtc.so.7");
  ASSERT_TRUE(library) << library.error().message;
  const auto hiprtc = HiprtcApi::load(*library);
  ASSERT_FALSE(hiprtc);
  EXPECT_EQ(hiprtc.error().code, ErrorCode::unavailable);
  EXPECT_NE(hiprtc.error().message.find("'hiprtcGetCodeSize'"), std::string::npos);
  const auto comgr = ComgrApi::load(*library);
  ASSERT_FALSE(comgr);
  EXPECT_EQ(comgr.error().code, ErrorCode::unavailable);
  EXPECT_NE(comgr.error().message.find("'amd_comgr_get_isa_count'"), std::string::npos);
}

#ifdef KILN_HAS_HIPRTC_HEADER
#define KILN_COMPARE(name, parameters)                                        \
  static_assert(SameAbi<decltype(HiprtcApi::name), decltype(&::name)>::value, \
                #name " is declared otherwise in <hip/hiprtc.h>");
KILN_HIPRTC_REQUIRED(KILN_COMPARE)
KILN_HIPRTC_OPTIONAL(KILN_COMPARE)
#undef KILN_COMPARE
static_assert(int{kHiprtcSuccess} == HIPRTC_SUCCESS);
static_assert(int{kHiprtcOutOfMemory} == HIPRTC_ERROR_OUT_OF_MEMORY);
static_assert(int{kHiprtcCompilation} == HIPRTC_ERROR_COMPILATION);
static_assert(int{kHiprtcBuiltinOperationFailure} == HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE);
#endif

#ifdef KILN_HAS_COMGR_HEADER
#define KILN_COMPARE(name, parameters)                                       \
  static_assert(SameAbi<decltype(ComgrApi::name), decltype(&::name)>::value, \
                #name " is declared otherwise in <amd_comgr.h>");
KILN_COMGR_REQUIRED(KILN_COMPARE)
#undef KILN_COMPARE
static_assert(
    std::is_same_v<decltype(ComgrApi::amd_comgr_get_version), decltype(&::amd_comgr_get_version)>);
static_assert(int{kComgrSuccess} == AMD_COMGR_STATUS_SUCCESS);
#endif

TEST(HiprtcApi, DeclarationsAreThoseOfRocm) {
#if !defined(KILN_HAS_HIPRTC_HEADER) || !defined(KILN_HAS_COMGR_HEADER)
  GTEST_SKIP() << "no <hip/hiprtc.h> or no <amd_comgr.h> on this machine";
#endif
}

}  // namespace
}  // namespace kiln::test
