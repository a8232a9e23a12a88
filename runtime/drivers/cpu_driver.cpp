// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/cpu_driver.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "runtime/drivers/memory_object.h"
#include "runtime/drivers/thread_pool.h"
#include "templates/device/kiln/cpu_abi.h"

namespace kiln {
namespace {

constexpr std::size_t kAlignment = 4096;

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
using AlignedMemory = std::unique_ptr<void, FreeDeleter>;

// Kernels of one process share the cores, so they share the pool and its scratch memory.
class Workers {
 public:
  Workers() : scratch_(pool_.workers()) {
    for (AlignedMemory& memory : scratch_) {
      memory.reset(std::aligned_alloc(kAlignment, kKilnCpuScratchBytes));
      if (!memory) throw std::bad_alloc();
    }
  }

  void run(KilnCpuEntry entry, std::int64_t items, const void* params) {
    const auto work = [&](unsigned worker, std::int64_t first, std::int64_t last) {
      KilnCpuHost host{};
      host.size_bytes = sizeof host;
      host.workers = pool_.workers();
      host.worker = worker;
      host.scratch = scratch_[worker].get();
      host.scratch_bytes = kKilnCpuScratchBytes;
      entry(&host, params, first, last);
    };
    pool_.run(items, work);
  }

 private:
  ThreadPool pool_;
  std::vector<AlignedMemory> scratch_;
};

class CpuModule : public Module {
 public:
  CpuModule(MemoryObject object, std::vector<KilnCpuEntry> entries,
            std::shared_ptr<Workers> workers)
      : object_(std::move(object)), entries_(std::move(entries)), workers_(std::move(workers)) {}

  Result<void> launch(const LaunchStep& step, const void* params, std::size_t /*params_bytes*/,
                      Stream stream) const override {
    if (step.entry >= entries_.size()) {
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("launch of entry {} of a kernel that has {}", step.entry, entries_.size()));
    }
    if (stream.handle) {
      return fail(ErrorCode::invalid_argument,
                  "the CPU has only the null stream; pass Stream{} for CPU tensors");
    }
    workers_->run(entries_[step.entry], static_cast<std::int64_t>(step.dims.grid.count()), params);
    return {};
  }

 private:
  MemoryObject object_;
  std::vector<KilnCpuEntry> entries_;
  std::shared_ptr<Workers> workers_;
};

class HostMemory : public DeviceMemory {
 public:
  HostMemory(AlignedMemory memory, std::size_t size_bytes)
      : DeviceMemory(memory.get(), size_bytes), memory_(std::move(memory)) {}

 private:
  AlignedMemory memory_;
};

class CpuDriver : public Driver {
 public:
  std::string_view name() const override { return "cpu"; }

  Result<std::vector<DeviceInfo>> devices() override {
    KILN_TRY_ASSIGN(Arch arch, Arch::parse("cpu"));
    return std::vector<DeviceInfo>{{0, "this host", std::move(arch)}};
  }

  Result<std::unique_ptr<Module>> load(int index, const Artifact& artifact) override {
    KILN_TRY(check_index(index));
    if (artifact.format != CodeFormat::shared_object) {
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("the CPU driver loads shared objects, not {}", name_of(artifact.format)));
    }
    KILN_TRY_ASSIGN(MemoryObject object, MemoryObject::load(artifact.code));
    std::vector<KilnCpuEntry> entries;
    for (const EntryPoint& entry : artifact.entries) {
      auto* function = reinterpret_cast<KilnCpuEntry>(object.find(entry.symbol));
      if (!function) {
        return fail(ErrorCode::driver_failed,
                    fmt::format("kernel '{}': its code has no symbol '{}'", entry.name_expression,
                                entry.symbol));
      }
      entries.push_back(function);
    }
    return std::make_unique<CpuModule>(std::move(object), std::move(entries), workers());
  }

  Result<std::unique_ptr<DeviceMemory>> allocate(int index, std::size_t size_bytes) override {
    KILN_TRY(check_index(index));
    const std::size_t rounded =
        (std::max<std::size_t>(size_bytes, 1) + kAlignment - 1) / kAlignment;
    const bool overflows = size_bytes > PTRDIFF_MAX;
    AlignedMemory memory(overflows ? nullptr
                                   : std::aligned_alloc(kAlignment, rounded * kAlignment));
    if (!memory) {
      return fail(ErrorCode::out_of_memory, fmt::format("cannot allocate {} bytes", size_bytes));
    }
    return std::make_unique<HostMemory>(std::move(memory), size_bytes);
  }

  Result<void> copy_to_device(int index, void* device, const void* host,
                              std::size_t bytes) override {
    KILN_TRY(check_index(index));
    if (bytes > 0) std::memcpy(device, host, bytes);
    return {};
  }
  Result<void> copy_to_host(int index, void* host, const void* device, std::size_t bytes) override {
    KILN_TRY(check_index(index));
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }
  Result<void> synchronize(int index, Stream) override { return check_index(index); }
  Result<bool> is_capturing(int index, Stream) override {
    KILN_TRY(check_index(index));
    return false;
  }

 private:
  static Result<void> check_index(int index) {
    if (index == 0) return {};
    return fail(ErrorCode::invalid_argument, fmt::format("CPU device {}: there is only 0", index));
  }

  std::shared_ptr<Workers> workers() {
    const std::lock_guard lock(mutex_);
    if (!workers_) workers_ = std::make_shared<Workers>();
    return workers_;
  }

  std::mutex mutex_;
  std::shared_ptr<Workers> workers_;
};

}  // namespace

std::unique_ptr<Driver> make_cpu_driver() {
  return std::make_unique<CpuDriver>();
}

}  // namespace kiln
