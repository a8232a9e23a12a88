// SPDX-License-Identifier: Apache-2.0
// An opened driver library with its devices. Shared by the driver and by every module and piece of
// memory, since these may outlive the driver.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kiln/driver.h"
#include "runtime/drivers/gpu_error.h"
#include "runtime/drivers/gpu_vendor.h"

namespace kiln {

// While it lives, a device is current on this thread.
class OnDevice {
 public:
  OnDevice(GpuVendor* vendor, int previous) : vendor_(vendor), previous_(previous) {}
  OnDevice(OnDevice&& other) noexcept
      : vendor_(std::exchange(other.vendor_, nullptr)), previous_(other.previous_) {}
  OnDevice& operator=(OnDevice&&) = delete;
  ~OnDevice() {
    if (vendor_) vendor_->leave(previous_);
  }

 private:
  GpuVendor* vendor_;
  int previous_;
};

class GpuSession {
 public:
  // Errors: unavailable, when there is no library, no device, or the driver refuses.
  static Result<std::shared_ptr<GpuSession>> open(std::unique_ptr<GpuVendor> vendor);
  ~GpuSession();
  GpuSession(const GpuSession&) = delete;
  GpuSession& operator=(const GpuSession&) = delete;

  GpuVendor& vendor() const { return *vendor_; }
  const std::vector<DeviceInfo>& devices() const { return devices_; }
  // Errors: invalid_argument, when there is no such device.
  Result<const DeviceInfo*> device(int index) const;

  // Errors: unavailable in a forked child; driver_failed; out_of_memory.
  Result<OnDevice> enter(const DeviceInfo& device) const;

  // Nothing, or the error that `reply` stands for.
  Result<void> check(const GpuReply& reply, const DeviceInfo& device,
                     GpuPurpose purpose = GpuPurpose::use, std::string_view what = {}) const;

  // Gives `release` the device, unless the process is a forked child, where nothing may be called.
  template <class Release>
  void clean_up(const DeviceInfo& device, Release release) const {
    const auto entered = enter(device);
    if (entered) release(*vendor_);
  }

 private:
  explicit GpuSession(std::unique_ptr<GpuVendor> vendor);
  Result<void> find_devices();

  std::unique_ptr<GpuVendor> vendor_;
  const int generation_;  // of the process that opened it
  std::vector<DeviceInfo> devices_;
};

// What a forked child is told.
Error forked_error(std::string_view title);

}  // namespace kiln
