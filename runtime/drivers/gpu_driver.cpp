// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_driver.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/drivers/gpu_module.h"
#include "runtime/drivers/gpu_open_gate.h"
#include "runtime/drivers/gpu_session.h"

namespace kiln {
namespace {

class GpuMemory final : public DeviceMemory {
 public:
  GpuMemory(std::shared_ptr<GpuSession> session, const DeviceInfo& device, void* data,
            std::size_t size_bytes)
      : DeviceMemory(data, size_bytes), session_(std::move(session)), device_(device) {}
  ~GpuMemory() override {
    session_->clean_up(device_, [this](GpuVendor& vendor) { vendor.release(data()); });
  }

 private:
  const std::shared_ptr<GpuSession> session_;
  const DeviceInfo device_;
};

class GpuDriver final : public Driver {
 public:
  GpuDriver(const GpuTraits& traits, MakeGpuVendor make_vendor)
      : traits_(traits), make_vendor_(std::move(make_vendor)) {}

  std::string_view name() const override { return traits_.name; }

  Result<std::vector<DeviceInfo>> devices() override {
    KILN_TRY_ASSIGN(const auto opened, session());
    return opened->devices();
  }

  Result<std::unique_ptr<Module>> load(int index, const Artifact& artifact) override {
    KILN_TRY_ASSIGN(auto opened, session());
    KILN_TRY_ASSIGN(const DeviceInfo* device, opened->device(index));
    return load_gpu_module(std::move(opened), *device, artifact);
  }

  Result<std::unique_ptr<DeviceMemory>> allocate(int index, std::size_t size_bytes) override {
    KILN_TRY_ASSIGN(auto opened, session());
    KILN_TRY_ASSIGN(const DeviceInfo* device, opened->device(index));
    KILN_TRY_ASSIGN(const OnDevice entered, opened->enter(*device));
    void* memory = nullptr;
    const std::size_t least = std::max<std::size_t>(size_bytes, 1);  // 0 is an error to CUDA
    const GpuReply reply = opened->vendor().allocate(least, &memory);
    if (!reply) {
      return fail(
          opened->check(reply, *device, GpuPurpose::use, fmt::format("{} bytes", least)).error());
    }
    return std::make_unique<GpuMemory>(std::move(opened), *device, memory, size_bytes);
  }

  Result<void> copy_to_device(int index, void* device, const void* host,
                              std::size_t bytes) override {
    KILN_TRY(check_copy(device, host, bytes));
    return on_device(index, fmt::format("{} bytes", bytes), [&](GpuVendor& vendor) {
      return bytes > 0 ? vendor.copy_to_device(device, host, bytes) : GpuReply{};
    });
  }

  Result<void> copy_to_host(int index, void* host, const void* device, std::size_t bytes) override {
    KILN_TRY(check_copy(device, host, bytes));
    return on_device(index, fmt::format("{} bytes", bytes), [&](GpuVendor& vendor) {
      return bytes > 0 ? vendor.copy_to_host(host, device, bytes) : GpuReply{};
    });
  }

  Result<void> synchronize(int index, Stream stream) override {
    return on_device(index, {}, [&](GpuVendor& vendor) {
      return vendor.synchronize(static_cast<GpuStreamHandle>(stream.handle));
    });
  }

  Result<bool> is_capturing(int index, Stream stream) override {
    bool capturing = false;
    KILN_TRY(on_device(index, {}, [&](GpuVendor& vendor) {
      const GpuReply reply =
          vendor.is_capturing(static_cast<GpuStreamHandle>(stream.handle), &capturing);
      if (reply.status != kGpuCaptureImplicit) return reply;
      // Of the null stream: another one is being captured that the null stream would wait for.
      capturing = true;
      return GpuReply{};
    }));
    return capturing;
  }

 private:
  Result<std::shared_ptr<GpuSession>> session() {
    switch (gate_.enter()) {
      case GpuOpenGate::Turn::is_open:
        return session_;
      case GpuOpenGate::Turn::other_process:
        return fail(forked_error(traits_.title));
      case GpuOpenGate::Turn::open_it:
        break;
    }
    auto opened = GpuSession::open(make_vendor_());
    if (!opened) {
      gate_.close();
      return fail(std::move(opened).error());
    }
    session_ = *opened;
    gate_.open();
    return session_;
  }

  template <class Call>
  Result<void> on_device(int index, std::string_view what, Call call) {
    KILN_TRY_ASSIGN(const auto opened, session());
    KILN_TRY_ASSIGN(const DeviceInfo* device, opened->device(index));
    KILN_TRY_ASSIGN(const OnDevice entered, opened->enter(*device));
    return opened->check(call(opened->vendor()), *device, GpuPurpose::use, what);
  }

  Result<void> check_copy(const void* device, const void* host, std::size_t bytes) const {
    if (bytes == 0 || (device && host)) return {};
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: copy of {} bytes with a null pointer to {} memory", traits_.title,
                            bytes, device ? "host" : "device"));
  }

  const GpuTraits traits_;
  const MakeGpuVendor make_vendor_;
  GpuOpenGate gate_;
  std::shared_ptr<GpuSession> session_;  // written once, by the thread that the gate let in
};

}  // namespace

std::unique_ptr<Driver> make_gpu_driver(const GpuTraits& traits, MakeGpuVendor make_vendor) {
  return std::make_unique<GpuDriver>(traits, std::move(make_vendor));
}

}  // namespace kiln
