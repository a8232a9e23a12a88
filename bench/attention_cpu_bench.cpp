// SPDX-License-Identifier: Apache-2.0
// attention_decode and attention_prefill on this host beside what the machine can do in the same
// run. Decode: each call on a cache of keys and values that the processor's caches no longer hold
// (cpu_rotation.h). Prefill: arithmetic is its limit.
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

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

void bench_decode(Runtime& runtime, const char* batch, const char* tokens, bench::Format format) {
  constexpr int kRounds = 9;
  const std::vector<NameValue> values = {{"batch", batch}, {"length", tokens}};
  bench::Rotation one(runtime, "attention_decode", values, 1);
  const double bytes = one.trial().bytes_moved();
  const int count = bench::rotation_count(bytes);
  bench::Rotation all(runtime, "attention_decode", values, count);
  bench::TrafficRotation alone(bench::Traffic::read, bytes, count);
  const auto rows = bench::measure_interleaved(
      {{all.trial().selection().implementation->name, [&] { return all.call_ms(); }},
       {"its bytes alone, read", [&] { return alone.call_ms(); }}},
      kRounds);
  bench::print({fmt::format("attention_decode 32/8 heads of 128, batch={} length={}, cold ({} "
                            "problems in turn)",
                            batch, tokens, count),
                "ms a call", "the second row, whose ratio is the share reached; goal 0.70"},
               rows, format);
}

void bench_prefill(Runtime& runtime, const char* tokens, bench::Format format) {
  constexpr int kRounds = 5;
  bench::Rotation call(runtime, "attention_prefill", {{"q_len", tokens}}, 1);
  const double operations = call.trial().operations();
  const auto rows = bench::measure_interleaved(
      {{call.trial().selection().implementation->name, [&] { return call.call_ms(); }},
       {"its operations alone (fp32)", [&] { return operations / measure_arithmetic() / 1e6; }}},
      kRounds);
  bench::print({fmt::format("attention_prefill 32/8 heads of 128, causal, tokens={}", tokens),
                "ms a call", "the second row, whose ratio is the share reached; goal 0.40"},
               rows, format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  bench_decode(*runtime, "8", "4096", format);
  bench_decode(*runtime, "1", "4096", format);
  bench_prefill(*runtime, "1024", format);
  bench_prefill(*runtime, "2048", format);
}
