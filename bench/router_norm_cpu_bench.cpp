// SPDX-License-Identifier: Apache-2.0
// router_gemm and qk_rmsnorm on this host beside what the machine can do in the same run, each call
// on tensors that the caches no longer hold (cpu_rotation.h).
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/cpu_rotation.h"
#include "bench/interleaved.h"
#include "kiln/runtime.h"
#include "runtime/reference/limits.h"

namespace {

using namespace kiln;

constexpr int kRounds = 9;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

std::string text_of(const std::vector<NameValue>& values) {
  std::string text;
  for (const NameValue& value : values) text += fmt::format(" {}={}", value.first, value.second);
  return text;
}

// The call first, then what its limit alone takes: the ratio of that row is the share reached.
void bench_bytes(Runtime& runtime, const char* op, const std::vector<NameValue>& values,
                 bench::Traffic traffic, bench::Format format) {
  bench::Rotation one(runtime, op, values, 1);
  const double bytes = one.trial().bytes_moved();
  const int count = bench::rotation_count(bytes);
  bench::Rotation all(runtime, op, values, count);
  bench::TrafficRotation alone(traffic, bytes, count);
  const bool copies = traffic == bench::Traffic::copy;
  const auto rows = bench::measure_interleaved(
      {{all.trial().selection().implementation->name, [&] { return all.call_ms(); }},
       {copies ? "its bytes alone, copied" : "its bytes alone, read",
        [&] { return alone.call_ms(); }}},
      kRounds);
  bench::print({fmt::format("{}{}, cold ({} problems in turn)", op, text_of(values), count),
                "ms a call", "the second row, whose ratio is the share reached; goal 0.80"},
               rows, format);
}

void bench_operations(Runtime& runtime, const char* op, const std::vector<NameValue>& values,
                      bench::Format format) {
  bench::Rotation one(runtime, op, values, 1);
  const int count = bench::rotation_count(one.trial().bytes_moved());
  bench::Rotation all(runtime, op, values, count);
  const double operations = one.trial().operations();
  const auto rows = bench::measure_interleaved(
      {{all.trial().selection().implementation->name, [&] { return all.call_ms(); }},
       {"its operations alone (fp32)", [&] { return operations / measure_arithmetic() / 1e6; }}},
      kRounds);
  bench::print({fmt::format("{}{}, cold ({} problems in turn)", op, text_of(values), count),
                "ms a call", "the second row, whose ratio is the share reached; goal 0.50"},
               rows, format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  using enum bench::Traffic;
  bench_bytes(*runtime, "router_gemm", {{"K", "7168"}, {"M", "1"}}, read, format);
  bench_bytes(*runtime, "router_gemm", {{"N", "896"}, {"K", "7168"}, {"M", "1"}}, read, format);
  bench_operations(*runtime, "router_gemm", {{"K", "7168"}, {"M", "64"}}, format);
  bench_bytes(*runtime, "qk_rmsnorm", {{"M", "4096"}}, copy, format);
}
