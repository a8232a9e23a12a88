// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/gpu_module.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/drivers/gpu_image.h"

namespace kiln {
namespace {

std::string to_text(const Dim3& dim) {
  return fmt::format("{}x{}x{}", dim.x, dim.y, dim.z);
}

std::string to_text(const LaunchDims& dims) {
  std::string text =
      fmt::format("grid {}, block {}, {} bytes of dynamic shared memory", to_text(dims.grid),
                  to_text(dims.block), dims.shared_bytes_dynamic);
  if (dims.cluster.count() != 1) text += fmt::format(", cluster {}", to_text(dims.cluster));
  return text;
}

class GpuModule final : public Module {
 public:
  GpuModule(std::shared_ptr<GpuSession> session, const DeviceInfo& device, GpuModuleHandle module)
      : session_(std::move(session)),
        device_(device),
        module_(module),
        can_cluster_(session_->vendor().can_cluster(device.arch)),
        can_start_early_(session_->vendor().can_start_early(device.arch)) {}

  ~GpuModule() override {
    session_->clean_up(device_, [this](GpuVendor& vendor) { vendor.unload(module_); });
  }

  // On the device, which the caller has entered.
  Result<void> find(const EntryPoint& entry) {
    GpuVendor& vendor = session_->vendor();
    Entry found{entry.name_expression, {}};
    const std::string what = fmt::format("'{}'", entry.name_expression);
    const GpuReply reply = vendor.find(module_, entry.symbol.c_str(), &found.function);
    if (reply.status == kGpuNotFound) {
      return fail(ErrorCode::driver_failed,
                  fmt::format("{}: kernel {}: its code has no symbol '{}'", vendor.traits().title,
                              what, entry.symbol));
    }
    KILN_TRY(session_->check(reply, device_, GpuPurpose::load, what));
    KILN_TRY(session_->check(vendor.prepare(device_.index, &found.function), device_,
                             GpuPurpose::load, what));
    entries_.push_back(std::move(found));
    return {};
  }

  Result<void> launch(const LaunchStep& step, const void* params, std::size_t params_bytes,
                      Stream stream) const override {
    KILN_TRY(check_launch(step, params, params_bytes));
    const Entry& entry = entries_[step.entry];
    LaunchDims dims = step.dims;
    dims.programmatic_dependent_launch &= can_start_early_;
    KILN_TRY_ASSIGN(const OnDevice entered, session_->enter(device_));
    if (dims.fill_device) KILN_TRY(fill_device(entry, &dims));
    const GpuReply reply = session_->vendor().launch(entry.function, dims, params, params_bytes,
                                                     static_cast<GpuStreamHandle>(stream.handle));
    if (reply) return {};
    return session_->check(reply, device_, GpuPurpose::launch,
                           fmt::format("'{}' with {}", entry.name, to_text(dims)));
  }

 private:
  struct Entry {
    std::string name;
    GpuFunction function;
  };

  Result<void> fill_device(const Entry& entry, LaunchDims* dims) const {
    unsigned blocks = 0;
    const GpuReply reply =
        session_->vendor().resident_blocks(device_.index, entry.function, *dims, &blocks);
    if (!reply) {  // the text is for that case alone: a launch allocates nothing
      return session_->check(reply, device_, GpuPurpose::launch,
                             fmt::format("'{}' with {}", entry.name, to_text(*dims)));
    }
    if (blocks > 0) dims->grid.x = std::min(dims->grid.x, blocks);
    return {};
  }

  Result<void> check_launch(const LaunchStep& step, const void* params,
                            std::size_t params_bytes) const {
    if (step.entry >= entries_.size()) {
      return refuse(
          fmt::format("launch of entry {} of a kernel that has {}", step.entry, entries_.size()));
    }
    const Entry& entry = entries_[step.entry];
    if (!params) return refuse(fmt::format("launch of '{}' with null parameters", entry.name));
    if (entry.function.params_bytes.value_or(params_bytes) != params_bytes) {
      return refuse(fmt::format("launch of '{}' with {} bytes of parameters; it takes {}",
                                entry.name, params_bytes, *entry.function.params_bytes));
    }
    if (step.dims.cluster.count() != 1 && !can_cluster_) {
      return refuse(fmt::format("launch of '{}' with cluster {} on device {} ({}): {}", entry.name,
                                to_text(step.dims.cluster), device_.index, device_.name,
                                can_cluster_.reason()));
    }
    return {};
  }

  Result<void> refuse(const std::string& why) const {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: {}", session_->vendor().traits().title, why));
  }

  const std::shared_ptr<GpuSession> session_;
  const DeviceInfo device_;
  const GpuModuleHandle module_;
  const Answer can_cluster_;
  const bool can_start_early_;
  std::vector<Entry> entries_;
};

Result<void> check_artifact(const GpuTraits& traits, const Artifact& artifact) {
  const auto& formats = traits.formats;
  if (std::find(formats.begin(), formats.end(), artifact.format) == formats.end()) {
    std::string loadable;
    for (const CodeFormat format : formats) {
      loadable += fmt::format("{}{}", loadable.empty() ? "" : " and ", name_of(format));
    }
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: the driver loads {}, not {}", traits.title, loadable,
                            name_of(artifact.format)));
  }
  if (artifact.format == CodeFormat::ptx) return {};
  const Answer whole = is_whole_elf(artifact.code, traits.elf_machine);
  if (whole) return {};
  return fail(ErrorCode::driver_failed,
              fmt::format("{}: this {} cannot be loaded: {}", traits.title,
                          name_of(artifact.format), whole.reason()));
}

}  // namespace

Result<std::unique_ptr<Module>> load_gpu_module(std::shared_ptr<GpuSession> session,
                                                const DeviceInfo& device,
                                                const Artifact& artifact) {
  GpuVendor& vendor = session->vendor();
  KILN_TRY(check_artifact(vendor.traits(), artifact));
  KILN_TRY_ASSIGN(const OnDevice entered, session->enter(device));
  GpuModuleHandle handle = nullptr;
  std::string log;
  const GpuReply reply = vendor.load(artifact, &handle, &log);
  if (!reply) {
    const std::string where =
        fmt::format("of {} bytes of {} on device {} ({})", artifact.code.size(),
                    name_of(artifact.format), device.index, device.name);
    return fail(gpu_error(vendor, reply, GpuPurpose::load, where, std::move(log)));
  }
  auto module = std::make_unique<GpuModule>(std::move(session), device, handle);
  for (const EntryPoint& entry : artifact.entries) KILN_TRY(module->find(entry));
  return module;
}

}  // namespace kiln
