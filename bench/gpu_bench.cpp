// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/process.h"

namespace kiln::bench {

void give_up(const Error& error) {
  fmt::print(stderr, "bench: {}\n", error.message);
  std::exit(1);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

GpuMachine GpuMachine::open(Runtime& runtime) {
  Driver* const driver = require(runtime.driver(require(Arch::parse("sm_90a"))));
  const auto devices = driver->devices();
  if (!devices || devices->empty()) {
    fmt::print(stderr, "bench: no NVIDIA GPU here, so nothing was measured: {}\n",
               devices ? "the driver names no device" : devices.error().message);
    std::exit(kSkipped);
  }
  const DeviceInfo& device = devices->front();
  return {*driver, device.index, device.arch, require(CudaTimer::open(device.index))};
}

double GpuMachine::copy_gbps() const {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  const auto from = require(driver.allocate(index, kBytes));
  const auto to = require(driver.allocate(index, kBytes));
  std::vector<double> rates;
  for (int round = -1; round < 11; ++round) {
    const double us = timer.time_us([&] { timer.copy(to->data(), from->data(), kBytes); });
    if (round >= 0) rates.push_back(2.0 * static_cast<double>(kBytes) / us / 1e3);
  }
  return median(rates);
}

void run_peers(const char* script, Format format) {
  std::vector<std::string> words = {"/usr/bin/env", "python3", script};
  if (format == Format::json) words.emplace_back("--json");
  const auto peers = kiln::test::run_process(words);
  fmt::print("{}{}", peers.out, peers.err);
}

}  // namespace kiln::bench
