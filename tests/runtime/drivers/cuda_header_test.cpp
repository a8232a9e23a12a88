// SPDX-License-Identifier: Apache-2.0
// Kiln's declarations of CUDA against <cuda.h>; compiled where a toolkit is installed. What differs
// does not compile.
#include "runtime/drivers/cuda_api.h"

#include <gtest/gtest.h>

#include "tests/support/same_abi.h"

#include <cuda.h>

namespace kiln::test {

#define KILN_SAME(name, parameters) \
  static_assert(SameAbi<decltype(CudaApi::name), decltype(&::name)>::value, #name);
KILN_CUDA_REQUIRED(KILN_SAME)
KILN_CUDA_OPTIONAL(KILN_SAME)
#undef KILN_SAME

static_assert(sizeof(CudaPointer) == sizeof(CUdeviceptr));
static_assert(sizeof(CudaLaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(offsetof(CudaLaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
static_assert(sizeof(CudaLaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(CudaLaunchConfig, grid) == offsetof(CUlaunchConfig, gridDimX));
static_assert(offsetof(CudaLaunchConfig, block) == offsetof(CUlaunchConfig, blockDimX));
static_assert(offsetof(CudaLaunchConfig, shared_bytes) == offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(CudaLaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(CudaLaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(CudaLaunchConfig, attribute_count) == offsetof(CUlaunchConfig, numAttrs));

TEST(CudaHeaderTest, NumbersAreTheHeaders) {
  EXPECT_EQ(int{kCudaComputeCapabilityMajor}, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(int{kCudaComputeCapabilityMinor}, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(int{kCudaSharedBytesPerBlockOptin},
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  EXPECT_EQ(int{kCudaMultiprocessors}, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  EXPECT_EQ(int{kCudaSharedBytesStatic}, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  EXPECT_EQ(int{kCudaSharedBytesDynamicMax}, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  EXPECT_EQ(int{kCudaJitErrorLog}, CU_JIT_ERROR_LOG_BUFFER);
  EXPECT_EQ(int{kCudaJitErrorLogBytes}, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
  EXPECT_EQ(int{kCudaCaptureNone}, CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(int{kCudaCaptureActive}, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  EXPECT_EQ(int{kCudaLaunchClusterDims}, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  EXPECT_EQ(int{kCudaLaunchProgrammaticSerialization},
            CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
}

TEST(CudaHeaderTest, StatusesAreTheHeaders) {
  EXPECT_EQ(int{kGpuSuccess}, CUDA_SUCCESS);
  EXPECT_EQ(int{kGpuInvalidValue}, CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(int{kGpuOutOfMemory}, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(int{kGpuNotInitialized}, CUDA_ERROR_NOT_INITIALIZED);
  EXPECT_EQ(int{kGpuDeinitialized}, CUDA_ERROR_DEINITIALIZED);
  EXPECT_EQ(int{kGpuStubLibrary}, CUDA_ERROR_STUB_LIBRARY);
  EXPECT_EQ(int{kGpuDeviceUnavailable}, CUDA_ERROR_DEVICE_UNAVAILABLE);
  EXPECT_EQ(int{kGpuNoDevice}, CUDA_ERROR_NO_DEVICE);
  EXPECT_EQ(int{kGpuInvalidDevice}, CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(int{kGpuNoBinaryForGpu}, CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(int{kGpuUncorrectableEcc}, CUDA_ERROR_ECC_UNCORRECTABLE);
  EXPECT_EQ(int{kGpuUncorrectableNvlink}, CUDA_ERROR_NVLINK_UNCORRECTABLE);
  EXPECT_EQ(int{kGpuJitCompilerNotFound}, CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
  EXPECT_EQ(int{kGpuUnsupportedPtxVersion}, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  EXPECT_EQ(int{kGpuNotFound}, CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(int{kGpuIllegalAddress}, CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(int{kGpuLaunchOutOfResources}, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  EXPECT_EQ(int{kGpuLaunchTimeout}, CUDA_ERROR_LAUNCH_TIMEOUT);
  EXPECT_EQ(int{kGpuContextIsDestroyed}, CUDA_ERROR_CONTEXT_IS_DESTROYED);
  EXPECT_EQ(int{kGpuAssert}, CUDA_ERROR_ASSERT);
  EXPECT_EQ(int{kGpuHardwareStackError}, CUDA_ERROR_HARDWARE_STACK_ERROR);
  EXPECT_EQ(int{kGpuLaunchFailed}, CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_EQ(int{kGpuSystemNotReady}, CUDA_ERROR_SYSTEM_NOT_READY);
  EXPECT_EQ(int{kGpuSystemDriverMismatch}, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  EXPECT_EQ(int{kGpuCompatNotSupported}, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
  EXPECT_EQ(int{kGpuCaptureUnsupported}, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(int{kGpuCaptureImplicit}, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(int{kGpuCaptureWrongThread}, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
}

}  // namespace kiln::test
