// SPDX-License-Identifier: Apache-2.0
// router_gemm and qk_rmsnorm on an NVIDIA GPU by graph replay (warm: the same tensors again and
// again), beside a graph node that does nothing and, for large calls, the copy bandwidth that this
// card has. Exit code 77: there is no GPU here.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/cuda_timer.h"
#include "bench/interleaved.h"
#include "kiln/kernel.h"
#include "runtime/reference/trial.h"
#include "tests/support/process.h"

namespace {

using namespace kiln;

constexpr int kSkipped = 77;
constexpr int kRounds = 7;
constexpr int kCalls = 20;
constexpr int kReplays = 10;
constexpr std::size_t kCopyBytes = std::size_t{1} << 30;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}
void require(const Result<void>& result) {
  if (result) return;
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Microseconds of one call in a graph of many.
double graph_us(const bench::CudaTimer& timer, const std::function<void()>& call) {
  call();  // compiles and loads before anything is captured
  std::vector<double> times;
  const auto many = [&] {
    for (int i = 0; i < kCalls; ++i) call();
  };
  for (int round = -1; round < kRounds; ++round) {
    const double us = timer.graph_time_us(many, kReplays) / (kCalls * kReplays);
    if (round >= 0) times.push_back(us);
  }
  return median(times);
}

double copy_gbps(Driver& driver, int device, const bench::CudaTimer& timer) {
  const auto from = require(driver.allocate(device, kCopyBytes));
  const auto to = require(driver.allocate(device, kCopyBytes));
  std::vector<double> rates;
  for (int round = -1; round < kRounds; ++round) {
    const double us = timer.time_us([&] { timer.copy(to->data(), from->data(), kCopyBytes); });
    if (round >= 0) rates.push_back(2.0 * static_cast<double>(kCopyBytes) / us / 1e3);
  }
  return median(rates);
}

struct Machine {
  Runtime& runtime;
  Arch arch;
  const bench::CudaTimer& timer;
  double copy_gbps, empty_us;
};

void bench_case(const Machine& machine, const char* op_name, const std::vector<NameValue>& values,
                bench::Format format) {
  const Op& op = *require(find_op(op_name));
  const OpArguments arguments = require(parse_arguments(op, values));
  const auto trial =
      require(make_trial(machine.runtime, op, arguments, machine.arch, 1, machine.timer.stream()));
  const double us = graph_us(machine.timer, [&] { require(trial->launch()); });
  std::string name = op_name;
  for (const auto& [key, value] : values) name += fmt::format(" {}={}", key, value);
  const std::string& implementation = trial->selection().implementation->name;
  const double share = trial->bytes_moved() / us / 1e3 / machine.copy_gbps;
  if (format == bench::Format::json) {
    fmt::print(R"({{"bench": "router_norm_gpu", "case": "{}", "implementation": "{}", )"
               R"("graph_us": {:.2f}, "over_empty_us": {:.2f}, "share_of_copy": {:.3f}}})"
               "\n",
               name, implementation, us, us - machine.empty_us, share);
    return;
  }
  fmt::print("{:<52} {:<26} {:>9.2f} {:>9.2f} {:>6.2f}\n", name, implementation, us,
             us - machine.empty_us, share);
}

// A kernel that does nothing, as the driver takes it on any card.
constexpr std::string_view kEmptyPtx = R"(
.version 6.0
.target sm_60
.address_size 64
.visible .entry empty(.param .u32 unused) { ret; }
)";

double measure_empty(Driver& driver, int device, const bench::CudaTimer& timer) {
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.code = to_bytes(as_bytes(kEmptyPtx));
  artifact.entries = {{"empty", "empty", {}}};
  const auto module = require(driver.load(device, artifact));
  return graph_us(timer,
                  [&] { require(module->launch(LaunchStep{}, nullptr, 0, timer.stream())); });
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  Driver* const driver = require(runtime->driver(require(Arch::parse("sm_90a"))));
  const auto devices = driver->devices();
  if (!devices || devices->empty()) {
    fmt::print(stderr, "bench: no NVIDIA GPU here, so nothing was measured: {}\n",
               devices ? "the driver names no device" : devices.error().message);
    return kSkipped;
  }
  const DeviceInfo& device = devices->front();
  const bench::CudaTimer timer = require(bench::CudaTimer::open(device.index));
  const Machine machine{*runtime, device.arch, timer, copy_gbps(*driver, device.index, timer),
                        measure_empty(*driver, device.index, timer)};
  if (format == bench::Format::text) {
    fmt::print("{}: copy {:.0f} GB/s, an empty graph node {:.2f} us\n", timer.device_name(),
               machine.copy_gbps, machine.empty_us);
    fmt::print("{:<52} {:<26} {:>9} {:>9} {:>6}\n", "us", "", "graph", "over", "share");
  }
  for (const auto& [experts, hidden] :
       {std::pair{"256", "7168"}, {"384", "7168"}, {"128", "2048"}}) {
    for (const char* tokens : {"1", "2", "4", "8", "16", "64", "256", "4096"}) {
      for (const char* gate : {"none", "sigmoid"}) {
        bench_case(machine, "router_gemm",
                   {{"N", experts}, {"K", hidden}, {"gate", gate}, {"M", tokens}}, format);
      }
    }
  }
  for (const char* rows : {"1", "64", "1024", "4096", "16384"}) {
    bench_case(machine, "qk_rmsnorm", {{"M", rows}}, format);
  }
  std::vector<std::string> words = {"/usr/bin/env", "python3", KILN_ROUTER_PEERS};
  if (format == bench::Format::json) words.emplace_back("--json");
  const auto peers = kiln::test::run_process(words);
  fmt::print("{}{}", peers.out, peers.err);
}
