// SPDX-License-Identifier: Apache-2.0
// attention_prefill on an NVIDIA GPU, one implementation after another, against the rate at which
// this card multiplies bf16 matrices, measured in the same run by mma.sync and by wgmma. Goals on
// an H200, 16k tokens, causal, heads of 128: 350 TFLOP/s by mma.sync, 600 by wgmma. torch SDPA
// (FlashAttention and cuDNN) stands beside it where Python has it. Rows come as they are measured.
//
//   --prewarm ARCH  only fills the cache, for a machine that has no compiler
//   --no-peers      leaves torch out
//
// Exit code 77: there is no GPU here.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "bench/gpu_bench.h"
#include "bench/matrix_rate.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;
using bench::require;

using Case = std::vector<NameValue>;

std::vector<Case> all_cases() {
  return {
      {{"q_len", "16384"}},
      {{"q_len", "4096"}, {"batch", "4"}},
      {{"q_len", "2048"}, {"batch", "8"}},
      {{"q_len", "8192"}, {"causal", "false"}},
      {{"q_len", "2048"}, {"batch", "8"}, {"causal", "false"}},
      {{"q_len", "8192"}, {"D_qk", "64"}, {"D_vo", "64"}},
      {{"q_len", "8192"}, {"Hq", "16"}, {"Hkv", "4"}, {"D_qk", "256"}, {"D_vo", "256"}},
      {{"q_len", "8192"}, {"Hq", "16"}, {"Hkv", "16"}, {"D_qk", "192"}},
      {{"q_len", "2048"}, {"batch", "8"}, {"paged", "true"}},
      {{"q_len", "512"}, {"kv_len", "8192"}, {"batch", "4"}},
  };
}
// The ordinary arithmetic of attention_prefill/plain would take longer than all the rest.
bool is_measured(const Implementation& implementation) {
  return implementation.name != "attention_prefill/plain";
}

struct Wish {
  bench::Format format;
  std::string prewarm;
  bool peers = true;
};

Wish wish_of(int argc, char** argv) {
  Wish wish{bench::format_of(argc, argv), {}};
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--no-peers") == 0) wish.peers = false;
    if (std::strcmp(argv[i], "--prewarm") == 0 && i + 1 < argc) wish.prewarm = argv[i + 1];
  }
  return wish;
}

const Op& the_op() {
  return *require(find_op("attention_prefill"));
}

std::string name_of(const Case& one) {
  std::string name;
  for (const auto& [key, value] : one)
    name += fmt::format("{}{}={}", name.empty() ? "" : " ", key, value);
  return name;
}

// A runtime in which this implementation alone serves.
std::unique_ptr<Runtime> runtime_of(const Implementation& alone) {
  Options options = require(Options::from_environment());
  for (const Implementation& other : the_op().implementations) {
    if (other.name != alone.name) options.disabled_implementations.push_back(other.name);
  }
  return require(Runtime::create(std::move(options)));
}

// Median of seven rounds of as many calls as take about 20 ms.
double call_us(const bench::CudaTimer& timer, Trial& trial) {
  require(trial.launch());  // compiles and loads
  const double once = timer.time_us([&] { require(trial.launch()); });
  const int calls = static_cast<int>(std::max(1.0, std::min(50.0, 20e3 / once)));
  std::vector<double> times;
  for (int round = -1; round < 7; ++round) {
    const double us = timer.time_us([&] {
      for (int i = 0; i < calls; ++i) require(trial.launch());
    });
    if (round >= 0) times.push_back(us / calls);
  }
  return bench::median(times);
}

void bench_case(const bench::GpuMachine& machine, const Implementation& implementation,
                const Case& one, double wgmma_tflops, bench::Format format) {
  const OpArguments arguments = require(parse_arguments(the_op(), one));
  if (!can_build(implementation, arguments.shape, machine.arch)) return;
  const auto runtime = runtime_of(implementation);
  const auto trial =
      require(make_trial(*runtime, the_op(), arguments, machine.arch, 1, machine.timer.stream()));
  const double us = call_us(machine.timer, *trial);
  const double tflops = trial->operations() / us / 1e6;
  const double share = tflops / wgmma_tflops;
  if (format == bench::Format::json) {
    fmt::print(R"({{"bench": "attention_prefill_gpu", "case": "{}", "implementation": "{}", )"
               R"("us": {:.1f}, "tflops": {:.1f}, "share_of_wgmma": {:.3f}}})"
               "\n",
               name_of(one), implementation.name, us, tflops, share);
  } else {
    fmt::print("{:<48} {:<26} {:>10.1f} {:>8.1f} {:>6.2f}\n", name_of(one), implementation.name, us,
               tflops, share);
  }
  std::fflush(stdout);
}

void prewarm(const std::string& name) {
  const Arch arch = require(Arch::parse(name));
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  for (const auto which : {bench::MatrixInstruction::mma_sync, bench::MatrixInstruction::wgmma}) {
    require(bench::prepare_matrix_rate(*runtime, arch, which));
  }
  int kernels = 0;
  for (const Case& one : all_cases()) {
    const OpArguments arguments = require(parse_arguments(the_op(), one));
    for (const Implementation& implementation : the_op().implementations) {
      if (!is_measured(implementation) || !can_build(implementation, arguments.shape, arch)) {
        continue;
      }
      require(
          runtime->prepare(require(make_input(the_op(), implementation, arguments.shape, arch))));
      ++kernels;
    }
  }
  fmt::print("{}: {} kernels are in the cache\n", arch.name(), kernels);
}

}  // namespace

int main(int argc, char** argv) {
  const Wish wish = wish_of(argc, argv);
  if (!wish.prewarm.empty()) return prewarm(wish.prewarm), 0;
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::GpuMachine machine = bench::GpuMachine::open(*runtime);
  using enum bench::MatrixInstruction;
  const double mma = require(bench::matrix_tflops(*runtime, machine, mma_sync));
  const auto by_wgmma = bench::matrix_tflops(*runtime, machine, wgmma);
  const double limit = by_wgmma ? *by_wgmma : mma;  // another card than a Hopper has no wgmma
  if (wish.format == bench::Format::text) {
    fmt::print("{}: matrix products at {:.0f} TFLOP/s by mma.sync, {:.0f} by wgmma\n",
               machine.timer.device_name(), mma, by_wgmma ? limit : std::nan(""));
    fmt::print("{:<48} {:<26} {:>10} {:>8} {:>6}\n", "", "", "us", "TFLOP/s", "share");
    std::fflush(stdout);
  }
  for (const Case& one : all_cases()) {
    for (const Implementation& implementation : the_op().implementations) {
      if (is_measured(implementation)) {
        bench_case(machine, implementation, one, limit, wish.format);
      }
    }
  }
  if (wish.peers) bench::run_peers(KILN_PREFILL_PEERS, wish.format);
}
