// SPDX-License-Identifier: Apache-2.0
// What CUDA's and HIP's functions answer. HIP numbers its errors as CUDA does, so one list serves
// both; tests compare it with both vendors' headers.
#pragma once

namespace kiln {

enum GpuStatus : int {
  kGpuSuccess = 0,
  kGpuInvalidValue = 1,
  kGpuOutOfMemory = 2,
  kGpuNotInitialized = 3,
  kGpuDeinitialized = 4,
  kGpuInvalidConfiguration = 9,  // HIP; CUDA's driver says kGpuInvalidValue
  kGpuStubLibrary = 34,
  kGpuInsufficientDriver = 35,
  kGpuNewerDriverNeeded = 36,
  kGpuDeviceUnavailable = 46,
  kGpuNoDevice = 100,
  kGpuInvalidDevice = 101,
  kGpuInvalidImage = 200,
  kGpuNoBinaryForGpu = 209,
  kGpuUncorrectableEcc = 214,
  kGpuInvalidPtx = 218,
  kGpuUncorrectableNvlink = 220,
  kGpuJitCompilerNotFound = 221,
  kGpuUnsupportedPtxVersion = 222,
  kGpuContained = 226,
  kGpuNotFound = 500,
  kGpuIllegalAddress = 700,
  kGpuLaunchOutOfResources = 701,
  kGpuLaunchTimeout = 702,
  kGpuContextIsDestroyed = 709,
  kGpuAssert = 710,
  kGpuHardwareStackError = 714,
  kGpuLaunchFailed = 719,
  kGpuTensorMemoryLeak = 721,
  kGpuSystemNotReady = 802,
  kGpuSystemDriverMismatch = 803,
  kGpuCompatNotSupported = 804,
  kGpuCaptureUnsupported = 900,
  kGpuCaptureImplicit = 906,
  kGpuCaptureWrongThread = 908,
  kGpuInvalidClusterSize = 912,
  kGpuUnknown = 999,
};

// One call of a vendor's function, and what it answered.
struct GpuReply {
  const char* call = "";
  GpuStatus status = kGpuSuccess;
  explicit operator bool() const { return status == kGpuSuccess; }
};

}  // namespace kiln
