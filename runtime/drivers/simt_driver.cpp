// SPDX-License-Identifier: Apache-2.0
#include "runtime/drivers/simt_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "runtime/drivers/simt_object.h"

namespace kiln {
namespace {

constexpr std::size_t kAlignment = 4096;
// Each stack and its guard page are two mappings, of which a process may have 65,530.
constexpr unsigned kWorkersMax = 24;

unsigned workers_wanted() {
  return std::min(ThreadPool().workers(), kWorkersMax);
}

Result<void> check_index(int index) {
  if (index == 0) return {};
  return fail(ErrorCode::invalid_argument, fmt::format("SIMT device {}: there is only 0", index));
}

// What kernels for simt are compiled for (jit/llvm_compiler.cpp).
Result<void> check_host() {
  KILN_TRY_ASSIGN(const Arch host, Arch::parse("cpu"));
  const std::vector<Arch> runs = host.compatible();
  const bool able = std::any_of(runs.begin(), runs.end(),
                                [](const Arch& arch) { return arch.name() == "x86-64-v3"; });
  if (able) return {};
  return fail(
      ErrorCode::unavailable,
      fmt::format("the SIMT machine needs a host of x86-64-v3 or later; this is {}", host.name()));
}

Result<void> check_dims(const LaunchDims& dims, unsigned warp_size) {
  const auto bad = [](const std::string& what) { return fail(ErrorCode::invalid_argument, what); };
  if (dims.grid.count() == 0 || dims.block.count() == 0) {
    return bad("launch of a grid or block without threads");
  }
  if (dims.block.count() > kSimtThreadsMax) {
    return bad(fmt::format("launch of {} threads per block; at most {}", dims.block.count(),
                           kSimtThreadsMax));
  }
  if (dims.shared_bytes_dynamic > simt_shared_bytes_max(warp_size)) {
    return bad(
        fmt::format("launch with {} bytes of dynamic shared memory; at most {} with warps "
                    "of {}",
                    dims.shared_bytes_dynamic, simt_shared_bytes_max(warp_size), warp_size));
  }
  if (dims.cluster.count() != 1) {
    return bad(
        fmt::format("launch with clusters of {} blocks; the SIMT machine has clusters of "
                    "one",
                    dims.cluster.count()));
  }
  return {};
}

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
using OwnedMemory = std::unique_ptr<void, FreeDeleter>;

}  // namespace

SimtDriver::Machine::Machine() : pool_(workers_wanted()) {
  blocks_.resize(pool_.workers());
}

Result<void> SimtDriver::Machine::run(SimtLaunch launch, std::string_view kernel) {
  const std::lock_guard lock(launching_);
  SimtFindings findings(kernel);
  const std::shared_ptr<const SimtRanges> ranges = memory.snapshot();
  launch.findings = &findings;
  launch.ranges = ranges.get();
  launch.seed = seed.load();
  if (launch.dims.fill_device) {
    launch.dims.grid.x = std::min(launch.dims.grid.x, pool_.workers());
  }
  std::mutex failing;
  Result<void> failed;
  const auto work = [&](unsigned worker, std::int64_t first, std::int64_t last) {
    Result<void> done;
    if (!blocks_[worker]) {
      auto made = SimtBlock::create();
      if (made) {
        blocks_[worker] = std::move(*made);
      } else {
        done = fail(std::move(made).error());
      }
    }
    for (std::int64_t i = first; done && i < last; ++i) {
      done = blocks_[worker]->run(launch, static_cast<std::uint64_t>(i));
    }
    if (done) return;
    const std::lock_guard failing_lock(failing);
    failed = std::move(done);
  };
  pool_.run(static_cast<std::int64_t>(launch.dims.grid.count()), work);
  if (!failed) return failed;
  return findings.outcome();
}

namespace {

// Machine is private to SimtDriver: its modules and memory know it by what they need of it.
class SimtModule : public Module {
 public:
  using Run = std::function<Result<void>(SimtLaunch launch, std::string_view kernel)>;
  struct Entry {
    std::string name;
    KilnSimtEntry function;
  };
  SimtModule(SimtObject object, std::vector<Entry> entries, Run run)
      : object_(std::move(object)), entries_(std::move(entries)), run_(std::move(run)) {}

  Result<void> launch(const LaunchStep& step, const void* params, std::size_t /*params_bytes*/,
                      Stream stream) const override {
    if (step.entry >= entries_.size()) {
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("launch of entry {} of a kernel that has {}", step.entry, entries_.size()));
    }
    if (stream.handle) {
      return fail(ErrorCode::invalid_argument,
                  "the SIMT machine has only the null stream; pass Stream{}");
    }
    const KilnSimtMark& mark = object_.mark();
    KILN_TRY(check_dims(step.dims, mark.warp_size));
    const Entry& entry = entries_[step.entry];
    return run_({.entry = entry.function,
                 .params = params,
                 .dims = step.dims,
                 .seed = 0,
                 .warp_size = mark.warp_size,
                 .checked = mark.checked != 0,
                 .findings = nullptr,
                 .ranges = nullptr},
                entry.name);
  }

 private:
  SimtObject object_;
  std::vector<Entry> entries_;
  Run run_;
};

class LentMemory : public SimtLease {
 public:
  LentMemory(std::shared_ptr<SimtMemory> memory, const void* data, std::size_t bytes)
      : memory_(std::move(memory)), data_(data) {
    memory_->add(data, bytes);
  }
  ~LentMemory() override { memory_->remove(data_); }

 private:
  std::shared_ptr<SimtMemory> memory_;
  const void* data_;
};

// Nothing that kernels may reach lies next to it.
class SimtAllocation : public DeviceMemory {
 public:
  SimtAllocation(std::shared_ptr<SimtMemory> memory, OwnedMemory owned, std::size_t size_bytes)
      : DeviceMemory(static_cast<std::byte*>(owned.get()) + kAlignment, size_bytes),
        owned_(std::move(owned)),
        lease_(std::move(memory), data(), size_bytes) {}

 private:
  OwnedMemory owned_;
  LentMemory lease_;
};

}  // namespace

SimtDriver::SimtDriver() : machine_(std::make_shared<Machine>()) {}
SimtDriver::~SimtDriver() = default;

SimtDriver* SimtDriver::of(Driver* driver) {
  return dynamic_cast<SimtDriver*>(driver);
}

void SimtDriver::set_seed(std::uint64_t seed) {
  machine_->seed.store(seed);
}

std::unique_ptr<SimtLease> SimtDriver::lend(const void* data, std::size_t bytes) {
  return std::make_unique<LentMemory>(std::shared_ptr<SimtMemory>(machine_, &machine_->memory),
                                      data, bytes);
}

Result<std::vector<DeviceInfo>> SimtDriver::devices() {
  KILN_TRY(check_host());
  KILN_TRY_ASSIGN(Arch arch, Arch::parse("simt"));
  return std::vector<DeviceInfo>{{0, "this host as a SIMT machine", std::move(arch)}};
}

Result<std::unique_ptr<Module>> SimtDriver::load(int index, const Artifact& artifact) {
  KILN_TRY(check_index(index));
  KILN_TRY(check_host());
  if (artifact.format != CodeFormat::shared_object) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the SIMT driver loads shared objects, not {}", name_of(artifact.format)));
  }
  KILN_TRY_ASSIGN(SimtObject object, SimtObject::load(artifact.code));
  std::vector<SimtModule::Entry> entries;
  for (const EntryPoint& entry : artifact.entries) {
    auto* function = reinterpret_cast<KilnSimtEntry>(object.find(entry.symbol));
    if (!function) {
      return fail(ErrorCode::driver_failed, fmt::format("kernel '{}': its code has no symbol '{}'",
                                                        entry.name_expression, entry.symbol));
    }
    entries.push_back({entry.name_expression, function});
  }
  auto run = [machine = machine_](SimtLaunch launch, std::string_view kernel) {
    return machine->run(std::move(launch), kernel);
  };
  return std::make_unique<SimtModule>(std::move(object), std::move(entries), std::move(run));
}

Result<std::unique_ptr<DeviceMemory>> SimtDriver::allocate(int index, std::size_t size_bytes) {
  KILN_TRY(check_index(index));
  const std::size_t pages = size_bytes / kAlignment + 3;
  OwnedMemory memory;
  if (pages < SIZE_MAX / kAlignment) {
    memory.reset(std::aligned_alloc(kAlignment, pages * kAlignment));
  }
  if (!memory) {
    return fail(ErrorCode::out_of_memory, fmt::format("cannot allocate {} bytes", size_bytes));
  }
  return std::make_unique<SimtAllocation>(std::shared_ptr<SimtMemory>(machine_, &machine_->memory),
                                          std::move(memory), size_bytes);
}

Result<void> SimtDriver::copy_to_device(int index, void* device, const void* host,
                                        std::size_t bytes) {
  KILN_TRY(check_index(index));
  if (bytes > 0) std::memcpy(device, host, bytes);
  return {};
}
Result<void> SimtDriver::copy_to_host(int index, void* host, const void* device,
                                      std::size_t bytes) {
  KILN_TRY(check_index(index));
  if (bytes > 0) std::memcpy(host, device, bytes);
  return {};
}
Result<void> SimtDriver::synchronize(int index, Stream) {
  KILN_TRY(check_index(index));
  return {};
}
Result<bool> SimtDriver::is_capturing(int index, Stream) {
  KILN_TRY(check_index(index));
  return false;
}

}  // namespace kiln
