// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_error.h"

#include <fmt/format.h>

namespace kiln {
namespace {

ErrorCode code_of(GpuStatus status, GpuPurpose purpose) {
  if (purpose == GpuPurpose::open) return ErrorCode::unavailable;
  if (status == kGpuOutOfMemory) return ErrorCode::out_of_memory;
  if (purpose == GpuPurpose::launch) {
    switch (status) {
      case kGpuInvalidValue:
      case kGpuInvalidConfiguration:
      case kGpuLaunchOutOfResources:
      case kGpuInvalidClusterSize:
        return ErrorCode::invalid_argument;
      default:
        break;
    }
  }
  return ErrorCode::driver_failed;
}

// After one of these no call on the context succeeds any more.
bool breaks_context(GpuStatus status) {
  switch (status) {
    case kGpuUncorrectableEcc:
    case kGpuUncorrectableNvlink:
    case kGpuContained:
    case kGpuIllegalAddress:
    case kGpuLaunchTimeout:
    case kGpuAssert:
    case kGpuTensorMemoryLeak:
      return true;
    default:
      return status >= kGpuHardwareStackError && status <= kGpuLaunchFailed;
  }
}

std::string advice_for_open(const GpuTraits& traits, GpuStatus status) {
  switch (status) {
    case kGpuNotInitialized:
      return "if this process was forked from one that had used the GPU, start it by spawn instead";
    case kGpuStubLibrary:
      return "this file is for linking only; take its folder off the library path";
    case kGpuInsufficientDriver:
    case kGpuNewerDriverNeeded:
      return "install a newer GPU driver";
    // HIP 5 answers kGpuInvalidDevice where there is none.
    case kGpuNoDevice:
    case kGpuInvalidDevice:
      return fmt::format(
          "no {} is visible to this process; check {} and that the container was "
          "given the device",
          traits.hardware, traits.visible_variable);
    case kGpuSystemNotReady:
      return "the system is not ready yet; check that its fabric manager runs";
    case kGpuSystemDriverMismatch:
      return "the driver's library and kernel module differ in version; reboot or reload the "
             "module";
    case kGpuCompatNotSupported:
      return "this GPU takes no forward compatibility library; take it off the library path";
    default:
      return "the kernel's log (dmesg) may say more";
  }
}

std::string advice_for(const GpuTraits& traits, GpuStatus status) {
  if (breaks_context(status)) {
    return fmt::format(
        "a kernel or the hardware broke the device's context and nothing more runs "
        "on it in this process; start the process again, and find the kernel with {}",
        traits.debugger);
  }
  if (status >= kGpuCaptureUnsupported && status <= kGpuCaptureWrongThread) {
    return "a stream is being captured into a graph; do this before the capture";
  }
  switch (status) {
    case kGpuDeinitialized:
      return "the driver has shut down; drop kernels and memory before the process ends";
    case kGpuDeviceUnavailable:
      return "another process has the device to itself";
    case kGpuContextIsDestroyed:
      return "the device was reset in this process; start the process again";
    case kGpuNoBinaryForGpu:
      return "the code is for another arch than this device's";
    case kGpuUnsupportedPtxVersion:
      return "the PTX is newer than the driver; update the driver, or compile to machine code";
    case kGpuJitCompilerNotFound:
      return "the driver's PTX compiler is not installed; compile to machine code";
    default:
      return {};
  }
}

}  // namespace

Error gpu_error(const GpuVendor& vendor, const GpuReply& reply, GpuPurpose purpose,
                std::string_view on_what, std::string log) {
  const GpuTraits& traits = vendor.traits();
  const GpuStatusText text = vendor.text(reply.status);
  std::string message = fmt::format("{}: {}", traits.title, reply.call);
  if (!on_what.empty()) message += fmt::format(" {}", on_what);
  message += fmt::format(": {} ({})", text.name, int{reply.status});
  if (!text.words.empty() && text.words != text.name) message += fmt::format(", {}", text.words);
  const std::string advice = purpose == GpuPurpose::open ? advice_for_open(traits, reply.status)
                                                         : advice_for(traits, reply.status);
  if (!advice.empty()) message += fmt::format("; {}", advice);
  return Error{code_of(reply.status, purpose), std::move(message), std::move(log)};
}

}  // namespace kiln
