// SPDX-License-Identifier: Apache-2.0
// kda_prefill on an NVIDIA GPU: 8,192 tokens, K = V = 128, in one sequence, in many, and one long;
// with a workspace, by chunk_parallel, and without.
// Limits: the bytes that it must move at the copy bandwidth that this card has, and the products
// with the state (3 K V multiply-adds for a token and head) at the matrix rate of its data sheet
// or any other that the caller knows; the chain of chunks of a sequence is neither. The goal on an
// H200 is 1.6 times the speed of flash-linear-attention's chunk_kda, which stands beside it where
// Python has it (--no-peers leaves it out). Exit code 77: there is no GPU here.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "bench/gpu_bench.h"
#include "kiln/kda_prefill.h"
#include "runtime/reference/trial_tensor.h"

namespace {

using namespace kiln;
using bench::GpuMachine;
using bench::median;
using bench::require;

constexpr int kRounds = 7;
constexpr std::int64_t kSize = 128;

struct Machine {
  Runtime& runtime;
  const GpuMachine& gpu;
  double copy_gbps;

  DLDevice device() const { return {kDLCUDA, gpu.index}; }
};

// A tensor that only the device has, filled with one block of numbers again and again.
class DeviceTensor {
 public:
  DeviceTensor(const Machine& machine, ElementType type, std::vector<std::int64_t> shape, float low,
               float high)
      : shape_(std::move(shape)), device_(machine.device()), type_(type) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape_) count *= extent;
    const std::int64_t block = std::min<std::int64_t>(count, 1 << 20);
    TrialTensor numbers =
        require(TrialTensor::create(machine.gpu.driver, machine.device(), type, {block}));
    Random random(static_cast<std::uint64_t>(count));
    numbers.fill([&] { return random.uniform(low, high); });
    const auto size = size_bytes_of(type);
    memory_ = require(
        machine.gpu.driver.allocate(machine.gpu.index, static_cast<std::size_t>(count) * size));
    for (std::int64_t at = 0; at < count; at += block) {
      const auto bytes = static_cast<std::size_t>(std::min(block, count - at)) * size;
      require(machine.gpu.driver.copy_to_device(
          machine.gpu.index,
          static_cast<std::byte*>(memory_->data()) + static_cast<std::size_t>(at) * size,
          numbers.host().data(), bytes));
    }
  }
  DLTensor dl() const {
    DLTensor tensor{};
    tensor.data = memory_->data();
    tensor.device = device_;
    tensor.ndim = static_cast<int>(shape_.size());
    tensor.dtype = dl_type_of(type_);
    tensor.shape = const_cast<std::int64_t*>(shape_.data());
    return tensor;
  }

 private:
  std::vector<std::int64_t> shape_;
  DLDevice device_;
  ElementType type_;
  std::unique_ptr<DeviceMemory> memory_;
};

struct Case {
  std::int64_t heads;
  std::vector<std::int64_t> lengths;
  ElementType state;
  KdaGate gate;

  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const std::int64_t length : lengths) sum += length;
    return sum;
  }
  std::string name() const {
    return fmt::format("H={} T={} sequences={} state={} gate={}", heads, total(), lengths.size(),
                       name_of(state), gate == KdaGate::softplus ? "softplus" : "lower_bound");
  }
  double bytes() const {
    const auto tokens = static_cast<double>(heads * total() * (5 * kSize + 1) * 2);
    const auto states = static_cast<double>(heads * kSize * kSize) *
                        static_cast<double>(lengths.size() * 2 * size_bytes_of(state));
    return tokens + states;
  }
  double operations() const { return 6.0 * static_cast<double>(heads * total() * kSize * kSize); }
};

class Call {
 public:
  Call(const Machine& machine, const Case& one, bool has_workspace)
      : machine_(machine), gate_(one.gate) {
    const std::int64_t t = one.total(), h = one.heads;
    const auto n = static_cast<std::int64_t>(one.lengths.size());
    using enum ElementType;
    const auto add = [&](DLTensor& tensor, ElementType type, std::vector<std::int64_t> shape,
                         float low, float high) {
      tensors_.push_back(
          std::make_unique<DeviceTensor>(machine, type, std::move(shape), low, high));
      tensor = tensors_.back()->dl();
    };
    add(args_.q, bf16, {t, h, kSize}, -1, 1);
    add(args_.k, bf16, {t, h, kSize}, -1, 1);
    add(args_.v, bf16, {t, h, kSize}, -1, 1);
    add(args_.a, bf16, {t, h, kSize}, -4, 4);
    add(args_.b, bf16, {t, h}, -3, 3);
    add(args_.A_log, f32, {h}, 0, 2);
    add(args_.dt_bias, f32, {h, kSize}, -4, 1);
    add(args_.state, one.state, {n, h, kSize, kSize}, -0.5F, 0.5F);
    add(args_.out, bf16, {t, h, kSize}, 0, 0);
    add(args_.slots, i32, {n}, 0, 0);
    add(args_.cu_seqlens, i32, {n + 1}, 0, 0);
    std::vector<std::int32_t> slots, starts{0};
    for (std::size_t i = 0; i < one.lengths.size(); ++i) {
      slots.push_back(static_cast<std::int32_t>(i));
      starts.push_back(starts.back() + static_cast<std::int32_t>(one.lengths[i]));
    }
    upload(args_.slots, slots);
    upload(args_.cu_seqlens, starts);
    args_.gate = one.gate;
    if (has_workspace) {
      add(args_.workspace, f32, {require(kda_prefill_workspace_floats(args_))}, 0, 0);
    }
  }

  void launch() {
    CallOptions options;
    options.stream = machine_.gpu.timer.stream();
    options.selected = &selected_;
    require(kda_prefill(machine_.runtime, args_, options));
  }
  const std::string& implementation() const { return selected_.implementation->name; }

 private:
  void upload(const DLTensor& tensor, const std::vector<std::int32_t>& numbers) {
    require(machine_.gpu.driver.copy_to_device(machine_.gpu.index, tensor.data, numbers.data(),
                                               numbers.size() * sizeof(std::int32_t)));
  }

  const Machine& machine_;
  KdaGate gate_;
  std::vector<std::unique_ptr<DeviceTensor>> tensors_;
  KdaPrefillArgs args_{};
  Selection selected_;
};

void bench_case(const Machine& machine, const Case& one, bool has_workspace, bench::Format format) {
  Call call(machine, one, has_workspace);
  call.launch();  // compiles and loads
  constexpr int kCalls = 4;
  std::vector<double> times;
  for (int round = -1; round < kRounds; ++round) {
    const double us = machine.gpu.timer.time_us([&] {
      for (int i = 0; i < kCalls; ++i) call.launch();
    });
    if (round >= 0) times.push_back(us / kCalls);
  }
  const double us = median(times);
  const double gbps = one.bytes() / us / 1e3;
  if (format == bench::Format::json) {
    fmt::print(R"({{"bench": "kda_prefill_gpu", "case": "{}", "implementation": "{}", )"
               R"("us": {:.1f}, "bytes": {:.0f}, "operations": {:.0f}, "share_of_copy": {:.3f}}})"
               "\n",
               one.name(), call.implementation(), us, one.bytes(), one.operations(),
               gbps / machine.copy_gbps);
  } else {
    fmt::print("{:<58} {:<26} {:>9.1f} {:>8.1f} {:>7.0f} {:>6.2f}\n", one.name(),
               call.implementation(), us, one.operations() / us / 1e6, gbps,
               gbps / machine.copy_gbps);
  }
  std::fflush(stdout);
}

std::vector<Case> all_cases() {
  using enum ElementType;
  const std::vector<std::int64_t> one = {8192};
  const std::vector<std::int64_t> uneven = {1300, 547, 2048, 963, 271, 3063};
  return {
      {32, one, f32, KdaGate::softplus},
      {32, one, bf16, KdaGate::softplus},
      {96, one, f32, KdaGate::lower_bound},
      {96, one, bf16, KdaGate::lower_bound},
      {96, one, f32, KdaGate::softplus},
      {12, one, f32, KdaGate::lower_bound},
      {32, uneven, f32, KdaGate::softplus},
      {96, uneven, f32, KdaGate::lower_bound},
      {32, std::vector<std::int64_t>(16, 512), f32, KdaGate::softplus},
      {32, {100000}, f32, KdaGate::softplus},
  };
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  const bool with_peers = std::none_of(argv + 1, argv + argc, [](const char* word) {
    return std::string_view(word) == "--no-peers";
  });
  const GpuMachine gpu = GpuMachine::open(*runtime);
  const Machine machine{*runtime, gpu, gpu.copy_gbps()};
  if (format == bench::Format::text) {
    fmt::print("{}: copy {:.0f} GB/s\n", gpu.timer.device_name(), machine.copy_gbps);
    fmt::print("{:<58} {:<26} {:>9} {:>8} {:>7} {:>6}\n", "K=V=128", "", "us", "TFLOP/s", "GB/s",
               "share");
  }
  for (const Case& one : all_cases()) {
    for (const bool has_workspace : {true, false}) bench_case(machine, one, has_workspace, format);
  }
  if (with_peers) bench::run_peers(KILN_KDA_PREFILL_PEERS, format);
}
