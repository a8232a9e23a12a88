// SPDX-License-Identifier: Apache-2.0
// The part of CUDA's driver interface that Kiln calls, declared here so that one build serves every
// machine. A test compares it with <cuda.h> where a CUDA toolkit is installed. Names that end in
// _v2 are those that the header's macros stand for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/drivers/gpu_library.h"
#include "runtime/drivers/gpu_vendor.h"

namespace kiln {

struct CudaContextState;
using CudaContext = CudaContextState*;
using CudaDevice = int;
using CudaPointer = std::uint64_t;

enum CudaDeviceAttribute : int {
  kCudaMultiprocessors = 16,
  kCudaComputeCapabilityMajor = 75,
  kCudaComputeCapabilityMinor = 76,
  kCudaSharedBytesPerBlockOptin = 97,
};
enum CudaFunctionAttribute : int {
  kCudaSharedBytesStatic = 1,
  kCudaSharedBytesDynamicMax = 8,
};
enum CudaJitOption : int {
  kCudaJitErrorLog = 5,
  kCudaJitErrorLogBytes = 6,
};
enum CudaCaptureStatus : int { kCudaCaptureNone = 0, kCudaCaptureActive = 1 };
enum CudaLaunchAttributeId : int {
  kCudaLaunchClusterDims = 4,
  kCudaLaunchProgrammaticSerialization = 6,
};

struct CudaLaunchAttribute {
  CudaLaunchAttributeId id;
  alignas(8) union {
    char all[64];  // the library's own size of it
    std::uint32_t cluster[3];
    int programmatic_serialization;
  } value;
};

struct CudaLaunchConfig {
  Dim3 grid;
  Dim3 block;
  unsigned shared_bytes;
  GpuStreamHandle stream;
  CudaLaunchAttribute* attributes;
  unsigned attribute_count;
};

// The one symbol list: it declares, loads and checks. X(name, parameters)
#define KILN_CUDA_REQUIRED(X)                                                                      \
  X(cuInit, (unsigned flags))                                                                      \
  X(cuGetErrorName, (GpuStatus status, const char** name))                                         \
  X(cuGetErrorString, (GpuStatus status, const char** words))                                      \
  X(cuDeviceGetCount, (int* count))                                                                \
  X(cuDeviceGet, (CudaDevice * device, int index))                                                 \
  X(cuDeviceGetName, (char* name, int bytes, CudaDevice device))                                   \
  X(cuDeviceGetAttribute, (int* value, CudaDeviceAttribute attribute, CudaDevice device))          \
  X(cuDevicePrimaryCtxRetain, (CudaContext * context, CudaDevice device))                          \
  X(cuDevicePrimaryCtxRelease_v2, (CudaDevice device))                                             \
  X(cuCtxPushCurrent_v2, (CudaContext context))                                                    \
  X(cuCtxPopCurrent_v2, (CudaContext * context))                                                   \
  X(cuModuleLoadDataEx, (GpuModuleHandle * module, const void* image, unsigned option_count,       \
                         CudaJitOption* options, void** values))                                   \
  X(cuModuleUnload, (GpuModuleHandle module))                                                      \
  X(cuModuleGetFunction, (GpuFunctionHandle * function, GpuModuleHandle module, const char* name)) \
  X(cuFuncGetAttribute, (int* value, CudaFunctionAttribute attribute, GpuFunctionHandle function)) \
  X(cuFuncSetAttribute, (GpuFunctionHandle function, CudaFunctionAttribute attribute, int value))  \
  X(cuLaunchKernel, (GpuFunctionHandle function, unsigned grid_x, unsigned grid_y,                 \
                     unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,        \
                     unsigned shared_bytes, GpuStreamHandle stream, void** params, void** extra))  \
  X(cuMemAlloc_v2, (CudaPointer * memory, std::size_t bytes))                                      \
  X(cuMemFree_v2, (CudaPointer memory))                                                            \
  X(cuMemcpyHtoD_v2, (CudaPointer device, const void* host, std::size_t bytes))                    \
  X(cuMemcpyDtoH_v2, (void* host, CudaPointer device, std::size_t bytes))                          \
  X(cuStreamSynchronize, (GpuStreamHandle stream))

// Each of these missing turns off a feature: clusters and programmatic launch (the driver of CUDA
// 11.8 has them), the check of the parameters' size and loading ahead of the first launch (12.4),
// the capture query (10.0), and launches that just fill the device.
#define KILN_CUDA_OPTIONAL(X)                                                                   \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor,                                                \
    (int* blocks, GpuFunctionHandle function, int block_threads, std::size_t shared_bytes))     \
  X(cuLaunchKernelEx,                                                                           \
    (const CudaLaunchConfig* config, GpuFunctionHandle function, void** params, void** extra))  \
  X(cuFuncGetParamInfo,                                                                         \
    (GpuFunctionHandle function, std::size_t index, std::size_t * offset, std::size_t * bytes)) \
  X(cuFuncLoad, (GpuFunctionHandle function))                                                   \
  X(cuStreamIsCapturing, (GpuStreamHandle stream, CudaCaptureStatus * status))

struct CudaApi {
#define KILN_CUDA_DECLARE(name, parameters) GpuStatus(*name) parameters = nullptr;
  KILN_CUDA_REQUIRED(KILN_CUDA_DECLARE)
  KILN_CUDA_OPTIONAL(KILN_CUDA_DECLARE)
#undef KILN_CUDA_DECLARE

  // Errors: unavailable, naming the required function that `library` lacks.
  static Result<CudaApi> load(const SharedLibrary& library);
};

}  // namespace kiln
