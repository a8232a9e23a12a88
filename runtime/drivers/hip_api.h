// SPDX-License-Identifier: Apache-2.0
// The part of HIP's interface that Kiln calls, declared here so that one build serves every
// machine. A test compares it with <hip/hip_runtime_api.h> where that is installed.
#pragma once

#include <array>
#include <cstddef>

#include "runtime/drivers/gpu_library.h"
#include "runtime/drivers/gpu_vendor.h"

namespace kiln {

enum HipCopyKind : int { kHipCopyToDevice = 1, kHipCopyToHost = 2 };
enum HipDeviceAttribute : int { kHipMultiprocessors = 63 };
enum HipCaptureStatus : int { kHipCaptureNone = 0, kHipCaptureActive = 1 };

// Marks of the `extra` list of a launch, which has one buffer with all parameters.
inline void* const kHipParamBuffer = reinterpret_cast<void*>(1);
inline void* const kHipParamBufferBytes = reinterpret_cast<void*>(2);
inline void* const kHipParamEnd = reinterpret_cast<void*>(3);

// hipDeviceProp_t, of which Kiln reads two names. The struct changed in ROCm 6; since then a
// function of its own fills the new layout (R0600) and the old function still fills the old one.
// Both are larger than the last name and much smaller than this (ROCm 5: 792 bytes, 6: 1472).
struct HipDeviceProperties {
  alignas(16) std::array<char, 8192> bytes{};
};
constexpr std::size_t kHipNameBytes = 256;
constexpr std::size_t kHipArchNameBytes = 256;
constexpr std::size_t kHipArchNameOffset = 396;        // hipDeviceProp_t before ROCm 6
constexpr std::size_t kHipArchNameOffsetR0600 = 1160;  // since; also LLVM's AMDGPUArchByHIP.cpp

// The one symbol list: it declares, loads and checks. X(name, parameters)
#define KILN_HIP_REQUIRED(X)                                                        \
  X(hipInit, (unsigned flags))                                                      \
  X(hipGetLastError, ())                                                            \
  X(hipGetDeviceCount, (int* count))                                                \
  X(hipGetDevice, (int* index))                                                     \
  X(hipSetDevice, (int index))                                                      \
  X(hipModuleLoadData, (GpuModuleHandle * module, const void* image))               \
  X(hipModuleUnload, (GpuModuleHandle module))                                      \
  X(hipModuleGetFunction,                                                           \
    (GpuFunctionHandle * function, GpuModuleHandle module, const char* name))       \
  X(hipModuleLaunchKernel,                                                          \
    (GpuFunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, \
     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,   \
     GpuStreamHandle stream, void** params, void** extra))                          \
  X(hipMalloc, (void** memory, std::size_t bytes))                                  \
  X(hipFree, (void* memory))                                                        \
  X(hipMemcpy, (void* to, const void* from, std::size_t bytes, HipCopyKind kind))   \
  X(hipStreamSynchronize, (GpuStreamHandle stream))

// Of the two that fill properties one must be there. Without the others the capture query and
// launches that just fill the device are off.
#define KILN_HIP_OPTIONAL(X)                                                                \
  X(hipDeviceGetAttribute, (int* value, HipDeviceAttribute attribute, int index))           \
  X(hipModuleOccupancyMaxActiveBlocksPerMultiprocessor,                                     \
    (int* blocks, GpuFunctionHandle function, int block_threads, std::size_t shared_bytes)) \
  X(hipGetDevicePropertiesR0600, (HipDeviceProperties * properties, int index))             \
  X(hipGetDeviceProperties, (HipDeviceProperties * properties, int index))                  \
  X(hipStreamIsCapturing, (GpuStreamHandle stream, HipCaptureStatus * status))

// These answer no status. X(name)
#define KILN_HIP_TEXTS(X) \
  X(hipGetErrorName)      \
  X(hipGetErrorString)

struct HipApi {
#define KILN_HIP_DECLARE(name, parameters) GpuStatus(*name) parameters = nullptr;
  KILN_HIP_REQUIRED(KILN_HIP_DECLARE)
  KILN_HIP_OPTIONAL(KILN_HIP_DECLARE)
#undef KILN_HIP_DECLARE
#define KILN_HIP_DECLARE_TEXT(name) const char* (*name)(GpuStatus status) = nullptr;
  KILN_HIP_TEXTS(KILN_HIP_DECLARE_TEXT)
#undef KILN_HIP_DECLARE_TEXT

  // Errors: unavailable, naming the required function that `library` lacks.
  static Result<HipApi> load(const SharedLibrary& library);
};

}  // namespace kiln
