// SPDX-License-Identifier: Apache-2.0
// The driver of arch simt: GPU kernels on the CPU, and what it offers beyond a Driver.
//
// Launches are complete when they return. What the machine finds wrong with a kernel (always:
// lanes that a shuffle or a barrier waits for in vain; with arch simt:checked also races,
// uninitialised reads and accesses out of bounds) is the launch's Error, driver_failed: the first
// finding is its message, all of them its log.
#pragma once

#include <cstdint>
#include <memory>

#include "jit/base/export.h"
#include "kiln/driver.h"

namespace kiln {

// Memory that kernels may reach. Ends with the object.
class KILN_API SimtLease {
 public:
  virtual ~SimtLease() = default;
};

class KILN_API SimtDriver final : public Driver {
 public:
  SimtDriver();
  ~SimtDriver() override;
  // Null when `driver` is another one.
  static SimtDriver* of(Driver* driver);

  // In which order the threads of a block run between barriers, for launches from now on: by
  // number with 0, the default; each other seed gives another order. Compiles nothing.
  void set_seed(std::uint64_t seed);
  // Lets checked kernels reach `bytes` of memory of the caller's own, as they may what allocate()
  // gave.
  std::unique_ptr<SimtLease> lend(const void* data, std::size_t bytes);

  std::string_view name() const override { return "simt"; }
  Result<std::vector<DeviceInfo>> devices() override;
  Result<std::unique_ptr<Module>> load(int index, const Artifact& artifact) override;
  Result<std::unique_ptr<DeviceMemory>> allocate(int index, std::size_t size_bytes) override;
  Result<void> copy_to_device(int index, void* device, const void* host,
                              std::size_t bytes) override;
  Result<void> copy_to_host(int index, void* host, const void* device, std::size_t bytes) override;
  Result<void> synchronize(int index, Stream stream) override;
  Result<bool> is_capturing(int index, Stream stream) override;

 private:
  struct Machine;  // lives as long as any of its modules and memory
  std::shared_ptr<Machine> machine_;
};

}  // namespace kiln
