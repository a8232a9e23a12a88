// SPDX-License-Identifier: Apache-2.0
// kda_decode on an NVIDIA GPU against the copy bandwidth that this card has: cold (pools in turn,
// together more than twice the L2 cache, as the layers of a model are) and warm (one pool), launch
// by launch and as a replayed graph. What the kernels are made for, and why, is in
// bench/KDA_DECODE_GPU.md. Exit code 77: there is no GPU here.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/gpu_bench.h"
#include "kiln/kda_decode.h"
#include "runtime/reference/trial_slots.h"

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

struct Case {
  std::int64_t heads, value_heads, batch;
  ElementType state;

  std::string name() const {
    return fmt::format("H={} HV={} batch={} state={}", heads, value_heads, batch, name_of(state));
  }
  std::int64_t pool_bytes() const {
    return batch * value_heads * kSize * kSize * static_cast<std::int64_t>(size_bytes_of(state));
  }
  double bytes() const {
    const std::int64_t row = 2 * heads * kSize + value_heads * (3 * kSize + 1);
    return 2.0 * static_cast<double>(pool_bytes()) + 2.0 * static_cast<double>(batch * row) +
           4.0 * static_cast<double>(value_heads * (kSize + 1));
  }
};

// The tensors of one case: one set of inputs, and as many pools as the cold rows rotate over.
class Call {
 public:
  Call(const Machine& machine, const Case& one) : machine_(machine), bytes_(one.bytes()) {
    const std::int64_t n = one.batch, h = one.heads, hv = one.value_heads;
    const auto pools =
        1 + 2 * machine.gpu.timer.l2_bytes() / std::max<std::int64_t>(one.pool_bytes(), 1);
    Random random(1);
    const auto make = [&](ElementType type, std::vector<std::int64_t> shape) {
      tensors_.push_back(require(
          TrialTensor::create(machine.gpu.driver, machine.device(), type, std::move(shape))));
      return tensors_.size() - 1;
    };
    const auto add = [&](ElementType type, std::vector<std::int64_t> shape, float low, float high) {
      const std::size_t index = make(type, std::move(shape));
      tensors_[index].fill([&] { return random.uniform(low, high); });
      return index;
    };
    using enum ElementType;
    for (auto [index, heads] : {std::pair{&q_, h}, std::pair{&k_, h}}) {
      *index = add(bf16, {n, heads, kSize}, -1, 1);
    }
    v_ = add(bf16, {n, hv, kSize}, -1, 1);
    a_ = add(bf16, {n, hv, kSize}, -4, 4);
    b_ = add(bf16, {n, hv}, -3, 3);
    a_log_ = add(f32, {hv}, 0, 2);
    dt_bias_ = add(f32, {hv, kSize}, -4, 1);
    slots_ = add(i32, {n}, 0, 0);
    out_ = add(bf16, {n, hv, kSize}, 0, 0);
    fill_trial_slots(tensors_[slots_], n, random);
    for (std::int64_t i = 0; i < pools; ++i) {
      pools_.push_back(make(one.state, {n, hv, kSize, kSize}));
    }
    tensors_[pools_[0]].fill([&] { return random.uniform(-0.5F, 0.5F); });
    for (std::size_t i = 1; i < pools_.size(); ++i) {
      tensors_[pools_[i]].host() = tensors_[pools_[0]].host();
    }
    for (TrialTensor& tensor : tensors_) require(tensor.upload(machine.gpu.driver));
  }

  std::int64_t pools() const { return static_cast<std::int64_t>(pools_.size()); }
  double bytes() const { return bytes_; }
  const std::string& implementation() const { return selected_.implementation->name; }

  void launch(std::int64_t pool) {
    KdaDecodeArgs args{};
    args.q = tensors_[q_].dl();
    args.k = tensors_[k_].dl();
    args.v = tensors_[v_].dl();
    args.a = tensors_[a_].dl();
    args.b = tensors_[b_].dl();
    args.A_log = tensors_[a_log_].dl();
    args.dt_bias = tensors_[dt_bias_].dl();
    args.slots = tensors_[slots_].dl();
    args.out = tensors_[out_].dl();
    args.state = tensors_[pools_[static_cast<std::size_t>(pool)]].dl();
    CallOptions options;
    options.stream = machine_.gpu.timer.stream();
    options.selected = &selected_;
    require(kda_decode(machine_.runtime, args, options));
  }

 private:
  const Machine& machine_;
  double bytes_;
  std::vector<TrialTensor> tensors_;
  std::size_t q_ = 0, k_ = 0, v_ = 0, a_ = 0, b_ = 0, a_log_ = 0, dt_bias_ = 0, slots_ = 0,
              out_ = 0;
  std::vector<std::size_t> pools_;
  Selection selected_;
};

// Microseconds of one call: medians of rounds, each of which calls every pool in turn.
struct Times {
  double eager_cold, graph_cold, graph_warm;
};

Times measure(const Machine& machine, Call& call) {
  const std::int64_t count = std::max<std::int64_t>(call.pools(), 8);
  const auto rotate = [&] {
    for (std::int64_t i = 0; i < count; ++i) call.launch(i % call.pools());
  };
  const auto stay = [&] {
    for (std::int64_t i = 0; i < count; ++i) call.launch(0);
  };
  call.launch(0);  // compiles and loads before anything is captured
  const auto each = [&](double all_us, int replays) {
    return all_us / static_cast<double>(count * replays);
  };
  std::vector<double> eager, cold, warm;
  constexpr int kReplays = 10;
  for (int round = -1; round < kRounds; ++round) {
    const Times times{each(machine.gpu.timer.time_us(rotate), 1),
                      each(machine.gpu.timer.graph_time_us(rotate, kReplays), kReplays),
                      each(machine.gpu.timer.graph_time_us(stay, kReplays), kReplays)};
    if (round < 0) continue;
    eager.push_back(times.eager_cold);
    cold.push_back(times.graph_cold);
    warm.push_back(times.graph_warm);
  }
  return {median(eager), median(cold), median(warm)};
}

void bench_case(const Machine& machine, const Case& one, bench::Format format) {
  Call call(machine, one);
  const Times times = measure(machine, call);
  const auto share = [&](double us) { return call.bytes() / us / 1e3 / machine.copy_gbps; };
  if (format == bench::Format::json) {
    fmt::print(
        R"({{"bench": "kda_decode_gpu", "case": "{}", "implementation": "{}", "bytes": {:.0f}, )"
        R"("eager_cold_us": {:.2f}, "graph_cold_us": {:.2f}, "graph_warm_us": {:.2f}, )"
        R"("share_of_copy_cold": {:.3f}, "share_of_copy_warm": {:.3f}}})"
        "\n",
        one.name(), call.implementation(), call.bytes(), times.eager_cold, times.graph_cold,
        times.graph_warm, share(times.graph_cold), share(times.graph_warm));
    return;
  }
  fmt::print("{:<38} {:<24} {:>8.1f} {:>9.2f} {:>9.2f} {:>9.2f} {:>6.2f} {:>6.2f}\n", one.name(),
             call.implementation(), call.bytes() / 1e6, times.eager_cold, times.graph_cold,
             times.graph_warm, share(times.graph_cold), share(times.graph_warm));
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  const GpuMachine gpu = GpuMachine::open(*runtime);
  const Machine machine{*runtime, gpu, gpu.copy_gbps()};
  if (format == bench::Format::text) {
    fmt::print("{}: copy {:.0f} GB/s, L2 cache {:.0f} MB\n", gpu.timer.device_name(),
               machine.copy_gbps, static_cast<double>(gpu.timer.l2_bytes()) / 1e6);
    fmt::print("{:<38} {:<24} {:>8} {:>9} {:>9} {:>9} {:>6} {:>6}\n", "K=V=128, us", "", "MB",
               "eager", "graph", "warm", "share", "warm");
  }
  for (const ElementType state : {ElementType::f32, ElementType::bf16}) {
    for (const auto& [heads, value_heads] : {std::pair{8, 8}, {12, 12}, {32, 32}, {8, 16}}) {
      for (std::int64_t batch = 1; batch <= 256; batch *= 2) {
        bench_case(machine, {heads, value_heads, batch, state}, format);
      }
    }
  }
  bench::run_peers(KILN_KDA_PEERS, format);
}
