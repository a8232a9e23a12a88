// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_session.h"

#include <fmt/format.h>

#include "jit/base/log.h"
#include "runtime/drivers/gpu_open_gate.h"

namespace kiln {

Error forked_error(std::string_view title) {
  return Error{ErrorCode::unavailable,
               fmt::format("{}: this process was forked from one that had opened the driver, which "
                           "does not survive fork(); open it only after the fork, or start "
                           "processes by spawn",
                           title),
               {}};
}

GpuSession::GpuSession(std::unique_ptr<GpuVendor> vendor)
    : vendor_(std::move(vendor)), generation_(fork_generation()) {}

GpuSession::~GpuSession() {
  if (generation_ == fork_generation()) vendor_->release_devices();
}

Result<std::shared_ptr<GpuSession>> GpuSession::open(std::unique_ptr<GpuVendor> vendor) {
  KILN_TRY(vendor->open_library());
  const GpuReply reply = vendor->initialize();
  if (!reply) return fail(gpu_error(*vendor, reply, GpuPurpose::open, {}));
  std::shared_ptr<GpuSession> session(new GpuSession(std::move(vendor)));
  KILN_TRY(session->find_devices());
  return session;
}

Result<void> GpuSession::find_devices() {
  int count = 0;
  GpuReply reply = vendor_->count_devices(&count);
  if (reply && count <= 0) reply.status = kGpuNoDevice;
  if (!reply) return fail(gpu_error(*vendor_, reply, GpuPurpose::open, {}));
  std::string first_refusal;
  const auto refuse = [&](std::string message) {
    log_once(LogLevel::warning, message);
    if (first_refusal.empty()) first_refusal = std::move(message);
  };
  // One device that answers strangely must not hide the others.
  for (int index = 0; index < count; ++index) {
    std::string name;
    std::string arch_name;
    reply = vendor_->describe(index, &name, &arch_name);
    if (!reply) {
      const std::string where = fmt::format("on device {}", index);
      refuse(gpu_error(*vendor_, reply, GpuPurpose::use, where).message);
      continue;
    }
    auto arch = Arch::parse(arch_name);
    if (!arch) {
      refuse(fmt::format("{}: device {} ({}) is left out: {}", vendor_->traits().title, index, name,
                         arch.error().message));
      continue;
    }
    devices_.push_back({index, std::move(name), std::move(*arch)});
  }
  if (devices_.empty()) return fail(ErrorCode::unavailable, std::move(first_refusal));
  return {};
}

Result<const DeviceInfo*> GpuSession::device(int index) const {
  std::string known;
  for (const DeviceInfo& info : devices_) {
    if (info.index == index) return &info;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", info.index);
  }
  return fail(ErrorCode::invalid_argument, fmt::format("{} device {}: there are only {}",
                                                       vendor_->traits().title, index, known));
}

Result<OnDevice> GpuSession::enter(const DeviceInfo& device) const {
  if (generation_ != fork_generation()) return fail(forked_error(vendor_->traits().title));
  int previous = 0;
  KILN_TRY(check(vendor_->enter(device.index, &previous), device));
  return OnDevice(vendor_.get(), previous);
}

Result<void> GpuSession::check(const GpuReply& reply, const DeviceInfo& device, GpuPurpose purpose,
                               std::string_view what) const {
  if (reply) return {};
  std::string on_what = what.empty() ? "" : fmt::format("of {} ", what);
  on_what += fmt::format("on device {} ({})", device.index, device.name);
  return fail(gpu_error(*vendor_, reply, purpose, on_what));
}

}  // namespace kiln
