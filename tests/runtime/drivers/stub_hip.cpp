// SPDX-License-Identifier: Apache-2.0
// A libamdhip64.so without a GPU. Built three times: whole (as since ROCm 6), STUB_OLD (as before,
// and without what is optional) and STUB_INCOMPLETE (without a function that is required).
#include <fmt/format.h>

#include <cstring>

#include "runtime/drivers/hip_api.h"
#include "tests/runtime/drivers/stub_state.h"

using namespace kiln;

namespace {

thread_local int current = 0;  // a thread's device before it chooses one
thread_local GpuStatus last_error = kGpuSuccess;

GpuStatus record(const char* call, const std::string& arguments = {}) {
  const auto status = static_cast<GpuStatus>(stub::record(call, current, arguments));
  if (status != kGpuSuccess) last_error = status;
  return status;
}

void fill(HipDeviceProperties* properties, int index, std::size_t arch_offset) {
  properties->bytes.fill('?');
  std::strcpy(properties->bytes.data(), fmt::format("Stub GPU {}", index).c_str());
  const char* arch = stub::setting("odd_arch_of", -1) == index ? "r600" : "gfx90a:sramecc+:xnack-";
  std::strcpy(properties->bytes.data() + arch_offset, arch);
}

}  // namespace

int stub_current() {
  return current;
}
void stub_make_current(int device) {
  current = device;
}

extern "C" {

GpuStatus hipInit(unsigned flags) {
  return record("hipInit", std::to_string(flags));
}
const char* hipGetErrorName(GpuStatus status) {
  return stub::status_name(status);
}
const char* hipGetErrorString(GpuStatus) {
  return "the stub's words";
}
GpuStatus hipGetLastError() {
  return std::exchange(last_error, kGpuSuccess);
}
GpuStatus hipGetDeviceCount(int* count) {
  *count = stub::setting("devices", 2);
  return record("hipGetDeviceCount");
}
GpuStatus hipGetDevice(int* index) {
  *index = current;
  return record("hipGetDevice");
}
GpuStatus hipSetDevice(int index) {
  const GpuStatus status = record("hipSetDevice", std::to_string(index));
  if (status == kGpuSuccess) current = index;
  return status;
}
#ifndef STUB_OLD
GpuStatus hipGetDevicePropertiesR0600(HipDeviceProperties* properties, int index) {
  fill(properties, index, 1160);
  return record("hipGetDevicePropertiesR0600");
}
GpuStatus hipStreamIsCapturing(GpuStreamHandle stream, HipCaptureStatus* status) {
  *status = static_cast<HipCaptureStatus>(stub::setting("capture", 0));
  return record("hipStreamIsCapturing", fmt::format("{}", fmt::ptr(stream)));
}
#endif
GpuStatus hipGetDeviceProperties(HipDeviceProperties* properties, int index) {
  fill(properties, index, 396);
  return record("hipGetDeviceProperties");
}
GpuStatus hipModuleLoadData(GpuModuleHandle* module, const void*) {
  static int module_tag;
  *module = reinterpret_cast<GpuModuleHandle>(&module_tag);
  return record("hipModuleLoadData", "ELF");
}
#ifndef STUB_INCOMPLETE
GpuStatus hipModuleUnload(GpuModuleHandle) {
  return record("hipModuleUnload");
}
#endif
GpuStatus hipModuleGetFunction(GpuFunctionHandle* function, GpuModuleHandle, const char* name) {
  const GpuStatus status = record("hipModuleGetFunction", name);
  if (status != kGpuSuccess) return status;
  const void* found = nullptr;
  const int answer = stub::find_function(name, &found);
  *function = static_cast<GpuFunctionHandle>(const_cast<void*>(found));
  return static_cast<GpuStatus>(answer);
}
#ifndef STUB_OLD
GpuStatus hipDeviceGetAttribute(int* value, HipDeviceAttribute attribute, int index) {
  *value = attribute == kHipMultiprocessors ? stub::setting("multiprocessors", 5) : 0;
  return record("hipDeviceGetAttribute", std::to_string(index));
}
GpuStatus hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, GpuFunctionHandle,
                                                             int block_threads,
                                                             std::size_t shared_bytes) {
  *blocks = stub::setting("resident", 2);
  return record("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor",
                fmt::format("{} threads {} bytes", block_threads, shared_bytes));
}
#endif
GpuStatus hipModuleLaunchKernel(GpuFunctionHandle function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared_bytes, GpuStreamHandle stream,
                                void** params, void** extra) {
  const bool well_formed = !params && extra[0] == kHipParamBuffer &&
                           extra[2] == kHipParamBufferBytes && extra[4] == kHipParamEnd;
  if (!well_formed) return kGpuInvalidValue;
  return record("hipModuleLaunchKernel", stub::to_text({function,
                                                        {grid_x, grid_y, grid_z},
                                                        {block_x, block_y, block_z},
                                                        shared_bytes,
                                                        stream,
                                                        extra[1],
                                                        *static_cast<std::size_t*>(extra[3])}));
}
GpuStatus hipMalloc(void** memory, std::size_t bytes) {
  const GpuStatus status = record("hipMalloc", std::to_string(bytes));
  if (status != kGpuSuccess) return status;
  return static_cast<GpuStatus>(stub::allocate(bytes, memory));
}
GpuStatus hipFree(void* memory) {
  stub::release(memory);
  return record("hipFree");
}
GpuStatus hipMemcpy(void* to, const void* from, std::size_t bytes, HipCopyKind kind) {
  std::memcpy(to, from, bytes);
  return record("hipMemcpy", fmt::format("{} kind {}", bytes, int{kind}));
}
GpuStatus hipStreamSynchronize(GpuStreamHandle stream) {
  return record("hipStreamSynchronize", fmt::format("{}", fmt::ptr(stream)));
}
}
