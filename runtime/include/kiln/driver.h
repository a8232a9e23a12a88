// SPDX-License-Identifier: Apache-2.0
// Driver: devices, memory, modules. Engines bring their own memory and streams; `jitctl run` and
// tests use what is here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/arch.h"
#include "jit/base/export.h"
#include "kiln/kernel.h"

namespace kiln {

// Memory that a kernel can reach. Freed on destruction.
class KILN_API DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }

 protected:
  DeviceMemory(void* data, std::size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

 private:
  void* data_;
  std::size_t size_bytes_;
};

struct DeviceInfo {
  int index = 0;  // as the vendor's runtime counts them
  std::string name;
  Arch arch;
};

// Implementations open the vendor's library on the first call that needs it, use the device's
// primary context, and leave the calling thread's current context as it was. Thread-safe. An
// `index` is a DeviceInfo::index; one that does not exist is an invalid_argument.
class KILN_API Driver {
 public:
  virtual ~Driver() = default;
  virtual std::string_view name() const = 0;  // "cpu", "cuda", "hip"

  // Errors: unavailable, with the reason and what to install.
  virtual Result<std::vector<DeviceInfo>> devices() = 0;

  // Loads code for one device. Errors: driver_failed when the code is rejected; unavailable;
  // invalid_argument for code of another kind.
  virtual Result<std::unique_ptr<Module>> load(int index, const Artifact& artifact) = 0;

  // At least 256-byte aligned. Contents undefined. Errors: out_of_memory, unavailable.
  virtual Result<std::unique_ptr<DeviceMemory>> allocate(int index, std::size_t size_bytes) = 0;
  // Copies that are complete when they return; `device` lies on device `index`.
  virtual Result<void> copy_to_device(int index, void* device, const void* host,
                                      std::size_t bytes) = 0;
  virtual Result<void> copy_to_host(int index, void* host, const void* device,
                                    std::size_t bytes) = 0;
  // Waits for all that was launched on `stream`. Errors: driver_failed, with what a kernel did.
  virtual Result<void> synchronize(int index, Stream stream) = 0;
  // Whether `stream` is being captured into a graph: then nothing may be compiled or loaded.
  virtual Result<bool> is_capturing(int index, Stream stream) = 0;
};

}  // namespace kiln
