// SPDX-License-Identifier: Apache-2.0
// Kiln's declarations of HIP against its header; compiled where that is installed. What differs
// does not compile.
#include "runtime/drivers/hip_api.h"

#include <gtest/gtest.h>

#include "tests/support/same_abi.h"

// In Kiln's list these are functions; ROCm 6's header makes macros of their names.
namespace kiln::test {
using OldProperties = decltype(HipApi::hipGetDeviceProperties);
}

#include <hip/hip_runtime_api.h>
#include <hip/hip_version.h>

namespace kiln::test {

#define KILN_SAME(name, parameters) \
  static_assert(SameAbi<decltype(HipApi::name), decltype(&::name)>::value, #name);
KILN_HIP_REQUIRED(KILN_SAME)
KILN_SAME(hipStreamIsCapturing, )
#define KILN_SAME_TEXT(name) KILN_SAME(name, )
KILN_HIP_TEXTS(KILN_SAME_TEXT)
#undef KILN_SAME_TEXT
#undef KILN_SAME

// In ROCm 6 this name stands for the new function.
static_assert(SameAbi<OldProperties, decltype(&::hipGetDeviceProperties)>::value);
#if HIP_VERSION_MAJOR >= 6
constexpr std::size_t kArchOffset = kHipArchNameOffsetR0600;
#else
constexpr std::size_t kArchOffset = kHipArchNameOffset;
#endif
static_assert(offsetof(hipDeviceProp_t, gcnArchName) == kArchOffset);
static_assert(sizeof(hipDeviceProp_t::gcnArchName) == kHipArchNameBytes);
static_assert(offsetof(hipDeviceProp_t, name) == 0);
static_assert(sizeof(hipDeviceProp_t::name) == kHipNameBytes);
static_assert(sizeof(hipDeviceProp_t) < sizeof(HipDeviceProperties));

TEST(HipHeaderTest, NumbersAreTheHeaders) {
  EXPECT_EQ(int{kHipCopyToDevice}, hipMemcpyHostToDevice);
  EXPECT_EQ(int{kHipCopyToHost}, hipMemcpyDeviceToHost);
  EXPECT_EQ(int{kHipMultiprocessors}, hipDeviceAttributeMultiprocessorCount);
  EXPECT_EQ(int{kHipCaptureNone}, hipStreamCaptureStatusNone);
  EXPECT_EQ(int{kHipCaptureActive}, hipStreamCaptureStatusActive);
  EXPECT_EQ(kHipParamBuffer, HIP_LAUNCH_PARAM_BUFFER_POINTER);
  EXPECT_EQ(kHipParamBufferBytes, HIP_LAUNCH_PARAM_BUFFER_SIZE);
  EXPECT_EQ(kHipParamEnd, HIP_LAUNCH_PARAM_END);
}

TEST(HipHeaderTest, StatusesAreTheHeaders) {
  EXPECT_EQ(int{kGpuSuccess}, hipSuccess);
  EXPECT_EQ(int{kGpuInvalidValue}, hipErrorInvalidValue);
  EXPECT_EQ(int{kGpuOutOfMemory}, hipErrorOutOfMemory);
  EXPECT_EQ(int{kGpuNotInitialized}, hipErrorNotInitialized);
  EXPECT_EQ(int{kGpuDeinitialized}, hipErrorDeinitialized);
  EXPECT_EQ(int{kGpuInvalidConfiguration}, hipErrorInvalidConfiguration);
  EXPECT_EQ(int{kGpuInsufficientDriver}, hipErrorInsufficientDriver);
  EXPECT_EQ(int{kGpuNoDevice}, hipErrorNoDevice);
  EXPECT_EQ(int{kGpuInvalidDevice}, hipErrorInvalidDevice);
  EXPECT_EQ(int{kGpuNoBinaryForGpu}, hipErrorNoBinaryForGpu);
  EXPECT_EQ(int{kGpuUncorrectableEcc}, hipErrorECCNotCorrectable);
  EXPECT_EQ(int{kGpuNotFound}, hipErrorNotFound);
  EXPECT_EQ(int{kGpuIllegalAddress}, hipErrorIllegalAddress);
  EXPECT_EQ(int{kGpuLaunchOutOfResources}, hipErrorLaunchOutOfResources);
  EXPECT_EQ(int{kGpuLaunchTimeout}, hipErrorLaunchTimeOut);
  EXPECT_EQ(int{kGpuContextIsDestroyed}, hipErrorContextIsDestroyed);
  EXPECT_EQ(int{kGpuAssert}, hipErrorAssert);
  EXPECT_EQ(int{kGpuLaunchFailed}, hipErrorLaunchFailure);
  EXPECT_EQ(int{kGpuCaptureUnsupported}, hipErrorStreamCaptureUnsupported);
  EXPECT_EQ(int{kGpuCaptureImplicit}, hipErrorStreamCaptureImplicit);
  EXPECT_EQ(int{kGpuCaptureWrongThread}, hipErrorStreamCaptureWrongThread);
}

}  // namespace kiln::test
