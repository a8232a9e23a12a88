// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/hip_driver.h"

#include <elf.h>
#include <fmt/format.h>

#include "runtime/drivers/gpu_driver.h"
#include "runtime/drivers/hip_api.h"

namespace kiln {
namespace {

constexpr CodeFormat kFormats[] = {CodeFormat::hsaco};
constexpr GpuTraits kTraits = {.name = "hip",
                               .title = "HIP",
                               .hardware = "AMD GPU",
                               .visible_variable = "HIP_VISIBLE_DEVICES",
                               .debugger = "rocgdb",
                               .formats = kFormats,
                               .elf_machine = EM_AMDGPU};

constexpr int kUnchanged = -1;  // in place of a device: enter() found the right one current

LibraryQuery make_query(const HipDriverSettings& settings) {
  LibraryQuery query;
  query.what = "AMD's HIP runtime";
  query.sonames = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"};
  query.override_path = settings.library;
  query.override_variable = "KILN_HIP_LIBRARY";
  for (const auto& folder : settings.rocm_folders) query.folders.push_back(folder / "lib");
  query.how_to_get =
      "install ROCm 5 to 7, or Debian's libamdhip64-5, and set KILN_HIP_LIBRARY if it lies in a "
      "folder of its own";
  return query;
}

// The text that starts at `offset`, which the library may not have ended.
std::string text_at(const HipDeviceProperties& properties, std::size_t offset,
                    std::size_t bytes_max) {
  const std::string_view field(properties.bytes.data() + offset, bytes_max);
  return std::string(field.substr(0, field.find('\0')));
}

class HipVendor final : public GpuVendor {
 public:
  explicit HipVendor(const HipDriverSettings& settings) : query_(make_query(settings)) {}

  const GpuTraits& traits() const override { return kTraits; }

  Result<void> open_library() override {
    KILN_TRY_ASSIGN(library_, open_gpu_library(query_));
    KILN_TRY_ASSIGN(api_, HipApi::load(*library_));
    return {};
  }

  GpuReply initialize() override { return reply("hipInit", api_.hipInit(0)); }

  GpuReply count_devices(int* count) override {
    return reply("hipGetDeviceCount", api_.hipGetDeviceCount(count));
  }

  GpuReply describe(int index, std::string* name, std::string* arch) override {
    const bool is_new = api_.hipGetDevicePropertiesR0600 != nullptr;
    HipDeviceProperties properties;
    const auto get = is_new ? api_.hipGetDevicePropertiesR0600 : api_.hipGetDeviceProperties;
    const GpuReply got = reply("hipGetDeviceProperties", get(&properties, index));
    *name = text_at(properties, 0, kHipNameBytes);
    *arch = text_at(properties, is_new ? kHipArchNameOffsetR0600 : kHipArchNameOffset,
                    kHipArchNameBytes);
    return got;
  }

  GpuStatusText text(GpuStatus status) const override {
    const char* name = api_.hipGetErrorName(status);
    const char* words = api_.hipGetErrorString(status);
    return {name ? name : "unknown status", words ? words : ""};
  }

  GpuReply enter(int index, int* previous) override {
    const GpuReply got = reply("hipGetDevice", api_.hipGetDevice(previous));
    if (!got) return got;
    if (*previous == index) {
      *previous = kUnchanged;
      return got;
    }
    return reply("hipSetDevice", api_.hipSetDevice(index));
  }
  void leave(int previous) override {
    if (previous != kUnchanged) reply("hipSetDevice", api_.hipSetDevice(previous));
  }
  void release_devices() override {}  // HIP counts no users of a device

  GpuReply load(const Artifact& artifact, GpuModuleHandle* module, std::string*) override {
    return reply("hipModuleLoadData", api_.hipModuleLoadData(module, artifact.code.data()));
  }
  GpuReply find(GpuModuleHandle module, const char* symbol, GpuFunction* function) override {
    return reply("hipModuleGetFunction",
                 api_.hipModuleGetFunction(&function->handle, module, symbol));
  }
  // All of a chip's LDS is a kernel's without asking, and code is loaded with its module.
  GpuReply prepare(int, GpuFunction*) override { return {}; }
  GpuReply unload(GpuModuleHandle module) override {
    return reply("hipModuleUnload", api_.hipModuleUnload(module));
  }

  Answer can_cluster(const Arch&) const override { return Answer::no("AMD GPUs have no clusters"); }
  bool can_start_early(const Arch&) const override { return false; }

  GpuReply resident_blocks(int index, const GpuFunction& function, const LaunchDims& dims,
                           unsigned* blocks) override {
    *blocks = 0;
    const auto ask = api_.hipModuleOccupancyMaxActiveBlocksPerMultiprocessor;
    if (!ask || !api_.hipDeviceGetAttribute) return {};
    int multiprocessors = 0;
    int each = 0;
    const GpuReply counted =
        reply("hipDeviceGetAttribute",
              api_.hipDeviceGetAttribute(&multiprocessors, kHipMultiprocessors, index));
    if (!counted) return counted;
    const GpuReply asked = reply("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor",
                                 ask(&each, function.handle, static_cast<int>(dims.block.count()),
                                     dims.shared_bytes_dynamic));
    *blocks = static_cast<unsigned>(each * multiprocessors);
    return asked;
  }

  GpuReply launch(const GpuFunction& function, const LaunchDims& dims, const void* params,
                  std::size_t params_bytes, GpuStreamHandle stream) override {
    // One buffer: HIP 5 documents the list of single parameters as not implemented.
    void* extra[] = {kHipParamBuffer, const_cast<void*>(params), kHipParamBufferBytes,
                     &params_bytes, kHipParamEnd};
    return reply("hipModuleLaunchKernel",
                 api_.hipModuleLaunchKernel(function.handle, dims.grid.x, dims.grid.y, dims.grid.z,
                                            dims.block.x, dims.block.y, dims.block.z,
                                            dims.shared_bytes_dynamic, stream, nullptr, extra));
  }

  GpuReply allocate(std::size_t size_bytes, void** memory) override {
    return reply("hipMalloc", api_.hipMalloc(memory, size_bytes));
  }
  GpuReply release(void* memory) override { return reply("hipFree", api_.hipFree(memory)); }
  GpuReply copy_to_device(void* device, const void* host, std::size_t bytes) override {
    const GpuReply copied =
        reply("hipMemcpy", api_.hipMemcpy(device, host, bytes, kHipCopyToDevice));
    // It may return when the bytes have left the host's memory and are still on their way.
    return copied ? synchronize(nullptr) : copied;
  }
  GpuReply copy_to_host(void* host, const void* device, std::size_t bytes) override {
    return reply("hipMemcpy", api_.hipMemcpy(host, device, bytes, kHipCopyToHost));
  }
  GpuReply synchronize(GpuStreamHandle stream) override {
    return reply("hipStreamSynchronize", api_.hipStreamSynchronize(stream));
  }

  GpuReply is_capturing(GpuStreamHandle stream, bool* capturing) override {
    *capturing = false;
    if (!api_.hipStreamIsCapturing) return {};
    HipCaptureStatus status = kHipCaptureNone;
    const GpuReply asked =
        reply("hipStreamIsCapturing", api_.hipStreamIsCapturing(stream, &status));
    *capturing = status != kHipCaptureNone;
    return asked;
  }

 private:
  // A failed call leaves its status behind, where the host program's next hipGetLastError would
  // take it for its own.
  GpuReply reply(const char* call, GpuStatus status) const {
    if (status != kGpuSuccess) api_.hipGetLastError();
    return {call, status};
  }

  const LibraryQuery query_;
  std::optional<SharedLibrary> library_;
  HipApi api_;
};

}  // namespace

std::unique_ptr<Driver> make_hip_driver(HipDriverSettings settings) {
  return make_gpu_driver(
      kTraits, [settings = std::move(settings)] { return std::make_unique<HipVendor>(settings); });
}

}  // namespace kiln
