// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/device_arch.h"

#include <fmt/format.h>

namespace kiln {
namespace {

// Any arch of the family that runs code for a DLPack device type.
Result<const char*> family_of(DLDevice device) {
  switch (device.device_type) {
    case kDLCUDA:
      return "sm_90";
    case kDLROCM:
      return "gfx90a";
    default:
      break;
  }
  return fail(
      ErrorCode::unavailable,
      fmt::format("tensors on DLPack device type {}: Kiln runs kernels on the CPU, CUDA and "
                  "ROCm devices",
                  static_cast<int>(device.device_type)));
}

}  // namespace

Result<Arch> device_arch(const Runtime& runtime, DLDevice device, const CallOptions& options) {
  if (options.arch) return *options.arch;
  if (device.device_type == kDLCPU) {
    static const Result<Arch> host = Arch::parse("cpu");
    return host;
  }
  KILN_TRY_ASSIGN(const char* const family, family_of(device));
  KILN_TRY_ASSIGN(Driver* const driver, runtime.driver(*Arch::parse(family)));
  KILN_TRY_ASSIGN(const std::vector<DeviceInfo> devices, driver->devices());
  for (const DeviceInfo& info : devices) {
    if (info.index == device.device_id) return info.arch;
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("tensors on {} device {}, but there are {}", driver->name(),
                          device.device_id, devices.size()));
}

}  // namespace kiln
