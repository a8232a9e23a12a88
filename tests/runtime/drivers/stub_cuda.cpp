// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 without a GPU. Built three times: whole, STUB_OLD (without what is optional) and
// STUB_INCOMPLETE (without a function that is required).
#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "runtime/drivers/cuda_api.h"
#include "tests/runtime/drivers/stub_state.h"

using namespace kiln;

namespace {

char context_tags[8];
thread_local std::vector<CudaContext> context_stack;

CudaContext context_of(CudaDevice device) {
  return reinterpret_cast<CudaContext>(&context_tags[device]);
}
int current() {
  if (context_stack.empty()) return stub::kNoDevice;
  return static_cast<int>(reinterpret_cast<char*>(context_stack.back()) - context_tags);
}
GpuStatus record(const char* call, const std::string& arguments = {}) {
  return static_cast<GpuStatus>(stub::record(call, current(), arguments));
}
void* to_host(CudaPointer pointer) {
  return reinterpret_cast<void*>(pointer);
}

}  // namespace

int stub_current() {
  return current();
}
void stub_make_current(int device) {
  context_stack.push_back(context_of(device));
}

extern "C" {

GpuStatus cuInit(unsigned flags) {
  return record("cuInit", std::to_string(flags));
}
GpuStatus cuGetErrorName(GpuStatus status, const char** name) {
  *name = stub::status_name(status);
  return kGpuSuccess;
}
GpuStatus cuGetErrorString(GpuStatus, const char** words) {
  *words = "the stub's words";
  return kGpuSuccess;
}
GpuStatus cuDeviceGetCount(int* count) {
  *count = stub::setting("devices", 2);
  return record("cuDeviceGetCount");
}
GpuStatus cuDeviceGet(CudaDevice* device, int index) {
  *device = index;
  return record("cuDeviceGet", std::to_string(index));
}
GpuStatus cuDeviceGetName(char* name, int bytes, CudaDevice device) {
  std::strncpy(name, fmt::format("Stub GPU {}", device).c_str(), static_cast<std::size_t>(bytes));
  return record("cuDeviceGetName");
}
GpuStatus cuDeviceGetAttribute(int* value, CudaDeviceAttribute attribute, CudaDevice device) {
  *value = attribute == kCudaComputeCapabilityMajor   ? stub::setting("major", 9)
           : attribute == kCudaComputeCapabilityMinor ? stub::setting("minor", 0)
           : attribute == kCudaMultiprocessors        ? stub::setting("multiprocessors", 5)
                                                      : stub::setting("shared_optin", 232448);
  return record("cuDeviceGetAttribute", fmt::format("{} of {}", int{attribute}, device));
}
GpuStatus cuDevicePrimaryCtxRetain(CudaContext* context, CudaDevice device) {
  *context = context_of(device);
  return record("cuDevicePrimaryCtxRetain", std::to_string(device));
}
GpuStatus cuDevicePrimaryCtxRelease_v2(CudaDevice device) {
  return record("cuDevicePrimaryCtxRelease_v2", std::to_string(device));
}
GpuStatus cuCtxPushCurrent_v2(CudaContext context) {
  const GpuStatus status = record("cuCtxPushCurrent_v2");
  if (status == kGpuSuccess) context_stack.push_back(context);
  return status;
}
GpuStatus cuCtxPopCurrent_v2(CudaContext* context) {
  if (context_stack.empty()) return static_cast<GpuStatus>(201);
  *context = context_stack.back();
  context_stack.pop_back();
  return record("cuCtxPopCurrent_v2");
}
GpuStatus cuModuleLoadDataEx(GpuModuleHandle* module, const void* image, unsigned option_count,
                             CudaJitOption* options, void** values) {
  const bool is_elf = std::memcmp(image,
                                  "\x7f"
                                  "ELF",
                                  4) == 0;
  const GpuStatus status =
      record("cuModuleLoadDataEx", is_elf ? "ELF" : static_cast<const char*>(image));
  for (unsigned i = 0; i < option_count && status != kGpuSuccess; ++i) {
    if (options[i] == kCudaJitErrorLog) std::strcpy(static_cast<char*>(values[i]), "ptxas: no");
  }
  static int module_tag;
  *module = reinterpret_cast<GpuModuleHandle>(&module_tag);
  return status;
}
#ifndef STUB_INCOMPLETE
GpuStatus cuModuleUnload(GpuModuleHandle) {
  return record("cuModuleUnload");
}
#endif
GpuStatus cuModuleGetFunction(GpuFunctionHandle* function, GpuModuleHandle, const char* name) {
  const GpuStatus status = record("cuModuleGetFunction", name);
  if (status != kGpuSuccess) return status;
  const void* found = nullptr;
  const int answer = stub::find_function(name, &found);
  *function = static_cast<GpuFunctionHandle>(const_cast<void*>(found));
  return static_cast<GpuStatus>(answer);
}
GpuStatus cuFuncGetAttribute(int* value, CudaFunctionAttribute attribute, GpuFunctionHandle) {
  *value = stub::setting("shared_static", 1024);
  return record("cuFuncGetAttribute", std::to_string(attribute));
}
GpuStatus cuFuncSetAttribute(GpuFunctionHandle, CudaFunctionAttribute attribute, int value) {
  return record("cuFuncSetAttribute", fmt::format("{} to {}", int{attribute}, value));
}
GpuStatus cuLaunchKernel(GpuFunctionHandle function, unsigned grid_x, unsigned grid_y,
                         unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                         unsigned shared_bytes, GpuStreamHandle stream, void** params,
                         void** extra) {
  if (extra) return kGpuInvalidValue;
  const auto bytes = static_cast<std::size_t>(stub::setting("param_bytes", 8));
  return record("cuLaunchKernel", stub::to_text({function,
                                                 {grid_x, grid_y, grid_z},
                                                 {block_x, block_y, block_z},
                                                 shared_bytes,
                                                 stream,
                                                 params[0],
                                                 bytes}));
}
GpuStatus cuMemAlloc_v2(CudaPointer* memory, std::size_t bytes) {
  const GpuStatus status = record("cuMemAlloc_v2", std::to_string(bytes));
  if (status != kGpuSuccess) return status;
  void* host = nullptr;
  const int answer = stub::allocate(bytes, &host);
  *memory = reinterpret_cast<CudaPointer>(host);
  return static_cast<GpuStatus>(answer);
}
GpuStatus cuMemFree_v2(CudaPointer memory) {
  stub::release(to_host(memory));
  return record("cuMemFree_v2");
}
GpuStatus cuMemcpyHtoD_v2(CudaPointer device, const void* host, std::size_t bytes) {
  std::memcpy(to_host(device), host, bytes);
  return record("cuMemcpyHtoD_v2", std::to_string(bytes));
}
GpuStatus cuMemcpyDtoH_v2(void* host, CudaPointer device, std::size_t bytes) {
  std::memcpy(host, to_host(device), bytes);
  return record("cuMemcpyDtoH_v2", std::to_string(bytes));
}
GpuStatus cuStreamSynchronize(GpuStreamHandle stream) {
  return record("cuStreamSynchronize", fmt::format("{}", fmt::ptr(stream)));
}

#ifndef STUB_OLD
GpuStatus cuLaunchKernelEx(const CudaLaunchConfig* config, GpuFunctionHandle function,
                           void** params, void** extra) {
  if (extra) return kGpuInvalidValue;
  const auto bytes = static_cast<std::size_t>(stub::setting("param_bytes", 8));
  std::string text = stub::to_text({function,
                                    {config->grid.x, config->grid.y, config->grid.z},
                                    {config->block.x, config->block.y, config->block.z},
                                    config->shared_bytes,
                                    config->stream,
                                    params[0],
                                    bytes});
  for (unsigned i = 0; i < config->attribute_count; ++i) {
    const CudaLaunchAttribute& attribute = config->attributes[i];
    if (attribute.id == kCudaLaunchClusterDims) {
      const auto& cluster = attribute.value.cluster;
      text += fmt::format(" cluster {},{},{}", cluster[0], cluster[1], cluster[2]);
    } else {
      text += fmt::format(" attribute {} is {}", int{attribute.id},
                          attribute.value.programmatic_serialization);
    }
  }
  return record("cuLaunchKernelEx", text);
}
GpuStatus cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, GpuFunctionHandle,
                                                      int block_threads, std::size_t shared_bytes) {
  *blocks = stub::setting("resident", 2);
  return record("cuOccupancyMaxActiveBlocksPerMultiprocessor",
                fmt::format("{} threads {} bytes", block_threads, shared_bytes));
}
GpuStatus cuFuncGetParamInfo(GpuFunctionHandle, std::size_t, std::size_t* offset,
                             std::size_t* bytes) {
  *offset = 0;
  *bytes = static_cast<std::size_t>(stub::setting("param_bytes", 8));
  return record("cuFuncGetParamInfo");
}
GpuStatus cuFuncLoad(GpuFunctionHandle) {
  return record("cuFuncLoad");
}
GpuStatus cuStreamIsCapturing(GpuStreamHandle stream, CudaCaptureStatus* status) {
  *status = static_cast<CudaCaptureStatus>(stub::setting("capture", 0));
  return record("cuStreamIsCapturing", fmt::format("{}", fmt::ptr(stream)));
}
#endif
}
