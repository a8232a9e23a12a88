// SPDX-License-Identifier: Apache-2.0
// router_gemm and qk_rmsnorm on an NVIDIA GPU by graph replay (warm: the same tensors again and
// again), beside a graph node that does nothing and, for large calls, the copy bandwidth that this
// card has. Exit code 77: there is no GPU here.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/gpu_bench.h"
#include "kiln/kernel.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;
using bench::GpuMachine;
using bench::median;
using bench::require;

constexpr int kRounds = 7;
constexpr int kCalls = 20;
constexpr int kReplays = 10;

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

struct Machine {
  Runtime& runtime;
  const GpuMachine& gpu;
  double copy_gbps, empty_us;
};

void bench_case(const Machine& machine, const char* op_name, const std::vector<NameValue>& values,
                bench::Format format) {
  const Op& op = *require(find_op(op_name));
  const OpArguments arguments = require(parse_arguments(op, values));
  const auto trial = require(
      make_trial(machine.runtime, op, arguments, machine.gpu.arch, 1, machine.gpu.timer.stream()));
  const double us = graph_us(machine.gpu.timer, [&] { require(trial->launch()); });
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

double measure_empty(const GpuMachine& gpu) {
  Artifact artifact;
  artifact.format = CodeFormat::ptx;
  artifact.code = to_bytes(as_bytes(kEmptyPtx));
  artifact.entries = {{"empty", "empty", {}}};
  const auto module = require(gpu.driver.load(gpu.index, artifact));
  return graph_us(gpu.timer,
                  [&] { require(module->launch(LaunchStep{}, nullptr, 0, gpu.timer.stream())); });
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  const GpuMachine gpu = GpuMachine::open(*runtime);
  const Machine machine{*runtime, gpu, gpu.copy_gbps(), measure_empty(gpu)};
  if (format == bench::Format::text) {
    fmt::print("{}: copy {:.0f} GB/s, an empty graph node {:.2f} us\n", gpu.timer.device_name(),
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
  bench::run_peers(KILN_ROUTER_PEERS, format);
}
