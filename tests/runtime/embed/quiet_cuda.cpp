// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 that does nothing and records nothing but a count of launches: what is measured
// against it is Kiln's own time, and what is counted are Kiln's own allocations.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "runtime/drivers/cuda_api.h"

using namespace kiln;

namespace {
thread_local std::uint64_t launches = 0;
std::atomic<int> capturing{0};
int tag;
}  // namespace

extern "C" {
std::uint64_t quiet_launches() {
  return launches;
}  // of this thread
void quiet_capture(int status) {
  capturing = status;
}

GpuStatus cuInit(unsigned) {
  return kGpuSuccess;
}
GpuStatus cuGetErrorName(GpuStatus, const char** name) {
  *name = "QUIET_ERROR";
  return kGpuSuccess;
}
GpuStatus cuGetErrorString(GpuStatus, const char** words) {
  *words = "";
  return kGpuSuccess;
}
GpuStatus cuDeviceGetCount(int* count) {
  *count = 2;
  return kGpuSuccess;
}
GpuStatus cuDeviceGet(CudaDevice* device, int index) {
  *device = index;
  return kGpuSuccess;
}
GpuStatus cuDeviceGetName(char* name, int, CudaDevice) {
  std::strcpy(name, "Quiet GPU");
  return kGpuSuccess;
}
GpuStatus cuDeviceGetAttribute(int* value, CudaDeviceAttribute attribute, CudaDevice) {
  *value = attribute == kCudaComputeCapabilityMajor   ? 9
           : attribute == kCudaComputeCapabilityMinor ? 0
                                                      : 232448;
  return kGpuSuccess;
}
GpuStatus cuDevicePrimaryCtxRetain(CudaContext* context, CudaDevice) {
  *context = reinterpret_cast<CudaContext>(&tag);
  return kGpuSuccess;
}
GpuStatus cuDevicePrimaryCtxRelease_v2(CudaDevice) {
  return kGpuSuccess;
}
GpuStatus cuCtxPushCurrent_v2(CudaContext) {
  return kGpuSuccess;
}
GpuStatus cuCtxPopCurrent_v2(CudaContext*) {
  return kGpuSuccess;
}
GpuStatus cuModuleLoadDataEx(GpuModuleHandle* module, const void*, unsigned, CudaJitOption*,
                             void**) {
  *module = reinterpret_cast<GpuModuleHandle>(&tag);
  return kGpuSuccess;
}
GpuStatus cuModuleUnload(GpuModuleHandle) {
  return kGpuSuccess;
}
GpuStatus cuModuleGetFunction(GpuFunctionHandle* function, GpuModuleHandle, const char* name) {
  *function = reinterpret_cast<GpuFunctionHandle>(&tag);
  // A build that the driver refuses, for the tests of falling back.
  return std::strncmp(name, "missing", 7) == 0 ? static_cast<GpuStatus>(500) : kGpuSuccess;
}
GpuStatus cuFuncGetAttribute(int* value, CudaFunctionAttribute, GpuFunctionHandle) {
  *value = 0;
  return kGpuSuccess;
}
GpuStatus cuFuncSetAttribute(GpuFunctionHandle, CudaFunctionAttribute, int) {
  return kGpuSuccess;
}
GpuStatus cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, GpuFunctionHandle, int,
                                                      std::size_t) {
  *blocks = 4;
  return kGpuSuccess;
}
GpuStatus cuLaunchKernel(GpuFunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned,
                         unsigned, unsigned, GpuStreamHandle, void**, void**) {
  ++launches;
  return kGpuSuccess;
}
GpuStatus cuLaunchKernelEx(const CudaLaunchConfig*, GpuFunctionHandle, void**, void**) {
  ++launches;
  return kGpuSuccess;
}
GpuStatus cuStreamIsCapturing(GpuStreamHandle, CudaCaptureStatus* status) {
  *status = static_cast<CudaCaptureStatus>(capturing.load());
  return kGpuSuccess;
}
GpuStatus cuMemAlloc_v2(CudaPointer* memory, std::size_t bytes) {
  *memory = reinterpret_cast<CudaPointer>(std::malloc(bytes));
  return kGpuSuccess;
}
GpuStatus cuMemFree_v2(CudaPointer memory) {
  std::free(reinterpret_cast<void*>(memory));
  return kGpuSuccess;
}
GpuStatus cuMemcpyHtoD_v2(CudaPointer device, const void* host, std::size_t bytes) {
  std::memcpy(reinterpret_cast<void*>(device), host, bytes);
  return kGpuSuccess;
}
GpuStatus cuMemcpyDtoH_v2(void* host, CudaPointer device, std::size_t bytes) {
  std::memcpy(host, reinterpret_cast<void*>(device), bytes);
  return kGpuSuccess;
}
// What gpu_check asks besides.
GpuStatus cuStreamCreate(void** stream, unsigned) {
  *stream = &tag;
  return kGpuSuccess;
}
GpuStatus cuStreamDestroy_v2(void*) {
  return kGpuSuccess;
}
GpuStatus cuStreamBeginCapture_v2(void*, int) {
  return kGpuSuccess;
}
GpuStatus cuStreamEndCapture(void*, void** graph) {
  *graph = &tag;
  return kGpuSuccess;
}
GpuStatus cuGraphInstantiateWithFlags(void** exec, void*, unsigned long long) {
  *exec = &tag;
  return kGpuSuccess;
}
GpuStatus cuGraphLaunch(void*, void*) {
  return kGpuSuccess;
}
GpuStatus cuGraphExecDestroy(void*) {
  return kGpuSuccess;
}
GpuStatus cuGraphDestroy(void*) {
  return kGpuSuccess;
}
GpuStatus cuEventCreate(void** event, unsigned) {
  *event = &tag;
  return kGpuSuccess;
}
GpuStatus cuEventRecord(void*, void*) {
  return kGpuSuccess;
}
GpuStatus cuEventSynchronize(void*) {
  return kGpuSuccess;
}
GpuStatus cuEventElapsedTime(float* ms, void*, void*) {
  *ms = 1;
  return kGpuSuccess;
}
GpuStatus cuEventDestroy_v2(void*) {
  return kGpuSuccess;
}
GpuStatus cuMemcpyDtoDAsync_v2(CudaPointer, CudaPointer, std::size_t, void*) {
  return kGpuSuccess;
}
GpuStatus cuStreamSynchronize(GpuStreamHandle) {
  return kGpuSuccess;
}
}
