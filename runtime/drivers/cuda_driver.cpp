// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/cuda_driver.h"

#include <elf.h>
#include <fmt/format.h>

#include <array>
#include <atomic>
#include <deque>
#include <mutex>

#include "runtime/drivers/cuda_api.h"
#include "runtime/drivers/gpu_driver.h"

namespace kiln {
namespace {

constexpr CodeFormat kFormats[] = {CodeFormat::cubin, CodeFormat::ptx};
constexpr GpuTraits kTraits = {.name = "cuda",
                               .title = "CUDA",
                               .hardware = "NVIDIA GPU",
                               .visible_variable = "CUDA_VISIBLE_DEVICES",
                               .debugger = "compute-sanitizer",
                               .formats = kFormats,
                               .elf_machine = EM_CUDA};

// From here on a kernel sees the features of its one chip under the `a` form of the name alone.
constexpr int kFirstSmWithArchSpecific = 90;
constexpr int kFirstSmWithClusters = 90;
// Without asking for more a kernel gets this much shared memory, on every chip.
constexpr int kSharedBytesDefault = 48 * 1024;

LibraryQuery make_query(const CudaDriverSettings& settings) {
  LibraryQuery query;
  query.what = "NVIDIA's driver library";
  query.sonames = {"libcuda.so.1"};
  query.override_path = settings.library;
  query.override_variable = "KILN_CUDA_LIBRARY";
  // Where it is on WSL and on NixOS.
  query.folders = {"/usr/lib/wsl/lib", "/run/opengl-driver/lib"};
  query.how_to_get =
      "install NVIDIA's driver, or give the container its GPU (docker run --gpus all)";
  return query;
}

CudaPointer to_pointer(const void* memory) {
  return reinterpret_cast<CudaPointer>(memory);
}

class CudaVendor final : public GpuVendor {
 public:
  explicit CudaVendor(const CudaDriverSettings& settings) : query_(make_query(settings)) {}

  const GpuTraits& traits() const override { return kTraits; }

  Result<void> open_library() override {
    KILN_TRY_ASSIGN(library_, open_gpu_library(query_));
    KILN_TRY_ASSIGN(api_, CudaApi::load(*library_));
    return {};
  }

  GpuReply initialize() override { return {"cuInit", api_.cuInit(0)}; }

  GpuReply count_devices(int* count) override {
    return {"cuDeviceGetCount", api_.cuDeviceGetCount(count)};
  }

  GpuReply describe(int index, std::string* name, std::string* arch) override;
  GpuStatusText text(GpuStatus status) const override;

  GpuReply enter(int index, int* previous) override {
    *previous = 0;  // the library itself keeps a stack
    CudaContext context = nullptr;
    const GpuReply reply = context_of(devices_[static_cast<std::size_t>(index)], &context);
    if (!reply) return reply;
    return {"cuCtxPushCurrent", api_.cuCtxPushCurrent_v2(context)};
  }
  void leave(int /*previous*/) override {
    CudaContext context = nullptr;
    api_.cuCtxPopCurrent_v2(&context);
  }
  void release_devices() override {
    for (Device& device : devices_) {
      if (device.context) api_.cuDevicePrimaryCtxRelease_v2(device.handle);
    }
  }

  GpuReply load(const Artifact& artifact, GpuModuleHandle* module, std::string* log) override;
  GpuReply find(GpuModuleHandle module, const char* symbol, GpuFunction* function) override {
    return {"cuModuleGetFunction", api_.cuModuleGetFunction(&function->handle, module, symbol)};
  }
  GpuReply prepare(int index, GpuFunction* function) override;
  GpuReply unload(GpuModuleHandle module) override {
    return {"cuModuleUnload", api_.cuModuleUnload(module)};
  }

  Answer can_cluster(const Arch& arch) const override;
  bool can_start_early(const Arch& arch) const override {
    return arch.sm() >= kFirstSmWithClusters && api_.cuLaunchKernelEx;
  }
  GpuReply resident_blocks(int index, const GpuFunction& function, const LaunchDims& dims,
                           unsigned* blocks) override;
  GpuReply launch(const GpuFunction& function, const LaunchDims& dims, const void* params,
                  std::size_t params_bytes, GpuStreamHandle stream) override;

  GpuReply allocate(std::size_t size_bytes, void** memory) override {
    CudaPointer pointer = 0;
    const GpuStatus status = api_.cuMemAlloc_v2(&pointer, size_bytes);
    *memory = reinterpret_cast<void*>(pointer);
    return {"cuMemAlloc", status};
  }
  GpuReply release(void* memory) override {
    return {"cuMemFree", api_.cuMemFree_v2(to_pointer(memory))};
  }
  GpuReply copy_to_device(void* device, const void* host, std::size_t bytes) override {
    const GpuReply reply{"cuMemcpyHtoD", api_.cuMemcpyHtoD_v2(to_pointer(device), host, bytes)};
    // It may return when the bytes have left the host's memory and are still on their way.
    return reply ? synchronize(nullptr) : reply;
  }
  GpuReply copy_to_host(void* host, const void* device, std::size_t bytes) override {
    return {"cuMemcpyDtoH", api_.cuMemcpyDtoH_v2(host, to_pointer(device), bytes)};
  }
  GpuReply synchronize(GpuStreamHandle stream) override {
    return {"cuStreamSynchronize", api_.cuStreamSynchronize(stream)};
  }
  GpuReply is_capturing(GpuStreamHandle stream, bool* capturing) override;

 private:
  struct Device {
    CudaDevice handle = 0;
    int shared_bytes_max = 0;
    int multiprocessors = 0;
    std::atomic<CudaContext> context{nullptr};
  };

  GpuReply context_of(Device& device, CudaContext* context);

  const LibraryQuery query_;
  std::optional<SharedLibrary> library_;
  CudaApi api_;
  std::deque<Device> devices_;  // by index; one that could not be described is never entered
  std::mutex retain_mutex_;
};

GpuReply CudaVendor::describe(int index, std::string* name, std::string* arch) {
  Device& device = devices_.emplace_back();
  GpuReply reply{"cuDeviceGet", api_.cuDeviceGet(&device.handle, index)};
  if (!reply) return reply;
  std::array<char, 256> buffer{};
  reply = {"cuDeviceGetName",
           api_.cuDeviceGetName(buffer.data(), int{buffer.size() - 1}, device.handle)};
  if (!reply) return reply;
  *name = buffer.data();
  int major = 0;
  int minor = 0;
  const auto ask = [&](CudaDeviceAttribute attribute, int* value) {
    if (!reply) return;
    reply = {"cuDeviceGetAttribute", api_.cuDeviceGetAttribute(value, attribute, device.handle)};
  };
  ask(kCudaComputeCapabilityMajor, &major);
  ask(kCudaComputeCapabilityMinor, &minor);
  ask(kCudaSharedBytesPerBlockOptin, &device.shared_bytes_max);
  ask(kCudaMultiprocessors, &device.multiprocessors);
  const int sm = major * 10 + minor;
  *arch = fmt::format("sm_{}{}", sm, sm >= kFirstSmWithArchSpecific ? "a" : "");
  return reply;
}

GpuStatusText CudaVendor::text(GpuStatus status) const {
  const char* name = nullptr;
  const char* words = nullptr;
  if (api_.cuGetErrorName(status, &name) != kGpuSuccess || !name) name = "unknown status";
  if (api_.cuGetErrorString(status, &words) != kGpuSuccess || !words) words = "";
  return {name, words};
}

GpuReply CudaVendor::context_of(Device& device, CudaContext* context) {
  *context = device.context.load(std::memory_order_acquire);
  if (*context) return {};
  const std::lock_guard lock(retain_mutex_);
  *context = device.context.load(std::memory_order_relaxed);
  if (*context) return {};
  const GpuReply reply{"cuDevicePrimaryCtxRetain",
                       api_.cuDevicePrimaryCtxRetain(context, device.handle)};
  if (reply) device.context.store(*context, std::memory_order_release);
  return reply;
}

GpuReply CudaVendor::load(const Artifact& artifact, GpuModuleHandle* module, std::string* log) {
  const void* image = artifact.code.data();
  std::string text;
  if (artifact.format == CodeFormat::ptx) {
    text = as_text(artifact.code);  // the library reads up to a NUL
    image = text.c_str();
  }
  std::string buffer(8192, '\0');
  CudaJitOption options[] = {kCudaJitErrorLog, kCudaJitErrorLogBytes};
  void* values[] = {buffer.data(), reinterpret_cast<void*>(buffer.size() - 1)};
  const GpuReply reply{"cuModuleLoadDataEx",
                       api_.cuModuleLoadDataEx(module, image, 2, options, values)};
  if (!reply) *log = buffer.c_str();
  return reply;
}

GpuReply CudaVendor::prepare(int index, GpuFunction* function) {
  const GpuFunctionHandle handle = function->handle;
  GpuReply reply;
  if (api_.cuFuncLoad) reply = {"cuFuncLoad", api_.cuFuncLoad(handle)};
  const int shared_bytes_max = devices_[static_cast<std::size_t>(index)].shared_bytes_max;
  if (reply && shared_bytes_max > kSharedBytesDefault) {
    int shared_bytes_static = 0;
    reply = {"cuFuncGetAttribute",
             api_.cuFuncGetAttribute(&shared_bytes_static, kCudaSharedBytesStatic, handle)};
    if (!reply) return reply;
    reply = {"cuFuncSetAttribute", api_.cuFuncSetAttribute(handle, kCudaSharedBytesDynamicMax,
                                                           shared_bytes_max - shared_bytes_static)};
  }
  std::size_t offset = 0;
  std::size_t bytes = 0;
  if (api_.cuFuncGetParamInfo &&
      api_.cuFuncGetParamInfo(handle, 0, &offset, &bytes) == kGpuSuccess) {
    function->params_bytes = bytes;
  }
  return reply;
}

Answer CudaVendor::can_cluster(const Arch& arch) const {
  if (arch.sm() < kFirstSmWithClusters) return Answer::no("clusters need sm_90 or later");
  if (api_.cuLaunchKernelEx) return Answer::yes();
  return Answer::no(
      fmt::format("'{}' has no cuLaunchKernelEx, which clusters need; install the driver of "
                  "CUDA 11.8 or later",
                  library_->path().string()));
}

GpuReply CudaVendor::resident_blocks(int index, const GpuFunction& function, const LaunchDims& dims,
                                     unsigned* blocks) {
  *blocks = 0;
  if (!api_.cuOccupancyMaxActiveBlocksPerMultiprocessor) return {};
  int per_multiprocessor = 0;
  const GpuReply reply{"cuOccupancyMaxActiveBlocksPerMultiprocessor",
                       api_.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                           &per_multiprocessor, function.handle,
                           static_cast<int>(dims.block.count()), dims.shared_bytes_dynamic)};
  *blocks = static_cast<unsigned>(per_multiprocessor *
                                  devices_[static_cast<std::size_t>(index)].multiprocessors);
  return reply;
}

GpuReply CudaVendor::launch(const GpuFunction& function, const LaunchDims& dims, const void* params,
                            std::size_t /*params_bytes*/, GpuStreamHandle stream) {
  void* all_params[] = {const_cast<void*>(params)};
  CudaLaunchAttribute attributes[2];  // each is filled in where it is used: clearing takes longer
  unsigned count = 0;
  if (dims.cluster.count() != 1) {
    attributes[count].id = kCudaLaunchClusterDims;
    auto& cluster = attributes[count++].value.cluster;
    cluster[0] = dims.cluster.x;
    cluster[1] = dims.cluster.y;
    cluster[2] = dims.cluster.z;
  }
  if (dims.programmatic_dependent_launch) {
    attributes[count].id = kCudaLaunchProgrammaticSerialization;
    attributes[count++].value.programmatic_serialization = 1;
  }
  if (count == 0) {
    return {"cuLaunchKernel",
            api_.cuLaunchKernel(function.handle, dims.grid.x, dims.grid.y, dims.grid.z,
                                dims.block.x, dims.block.y, dims.block.z, dims.shared_bytes_dynamic,
                                stream, all_params, nullptr)};
  }
  const CudaLaunchConfig config{dims.grid, dims.block, dims.shared_bytes_dynamic,
                                stream,    attributes, count};
  return {"cuLaunchKernelEx", api_.cuLaunchKernelEx(&config, function.handle, all_params, nullptr)};
}

GpuReply CudaVendor::is_capturing(GpuStreamHandle stream, bool* capturing) {
  *capturing = false;
  if (!api_.cuStreamIsCapturing) return {};
  CudaCaptureStatus status = kCudaCaptureNone;
  const GpuReply reply{"cuStreamIsCapturing", api_.cuStreamIsCapturing(stream, &status)};
  *capturing = status != kCudaCaptureNone;
  return reply;
}

}  // namespace

std::unique_ptr<Driver> make_cuda_driver(CudaDriverSettings settings) {
  return make_gpu_driver(
      kTraits, [settings = std::move(settings)] { return std::make_unique<CudaVendor>(settings); });
}

}  // namespace kiln
