// SPDX-License-Identifier: Apache-2.0
// kda_decode on this host, beside the memory's read-modify-write bandwidth and a plain loop that
// g++ -O3 compiled: states of both types, and batches from 16 on. Cold: each call on states that
// the caches no longer hold (cpu_rotation.h). Warm: again and again on the same states; the caches
// may hold them.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/cpu_rotation.h"
#include "bench/interleaved.h"
#include "bench/kda_plain_loop.h"
#include "kiln/runtime.h"
#include "runtime/drivers/thread_pool.h"

namespace {

using namespace kiln;

constexpr int kRounds = 9;
constexpr int kWarmCalls = 8;
constexpr std::int64_t kSize = 128;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

// The same work by the plain loop, on as many threads.
class PlainLoop {
 public:
  PlainLoop(std::int64_t heads, std::int64_t batch, int count)
      : states_(heads * batch),
        count_(count),
        state_(static_cast<std::size_t>(count * states_ * kSize * kSize), 0.25F),
        rows_(static_cast<std::size_t>(states_ * kSize), 0x3e00),
        out_(rows_.size()) {}

  double call_ms() {
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < count_; ++call) {
      float* const all = state_.data() + call * states_ * kSize * kSize;
      pool_.run(states_, [&](unsigned, std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const std::uint16_t* row = rows_.data() + i * kSize;
          bench::kda_plain_loop({row, row, row, row, row}, 0.5F, kSize, kSize,
                                all + i * kSize * kSize, out_.data() + i * kSize);
        }
      });
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    return took.count() / count_;
  }

 private:
  ThreadPool pool_;
  std::int64_t states_;
  int count_;
  std::vector<float> state_;
  std::vector<std::uint16_t> rows_;
  std::vector<std::uint16_t> out_;
};

void bench_case(Runtime& runtime, std::int64_t heads, std::int64_t batch, const char* state,
                bench::Format format) {
  const std::string h = std::to_string(heads);
  const std::vector<NameValue> given = {
      {"H", h}, {"HV", h}, {"batch", std::to_string(batch)}, {"state", state}};
  bench::Rotation one(runtime, "kda_decode", given, 1);
  const double bytes = one.trial().bytes_moved();
  const int count = bench::rotation_count(bytes / 2);
  bench::Rotation all(runtime, "kda_decode", given, count);
  const bench::Traffic traffic = bench::Traffic::read_modify_write;
  bench::TrafficRotation all_bytes(traffic, bytes, count), same_bytes(traffic, bytes, 1);
  const double f32_bytes = static_cast<double>(heads * batch * kSize * kSize) * sizeof(float);
  PlainLoop plain(heads, batch, bench::rotation_count(f32_bytes));
  const std::string name = all.trial().selection().implementation->name;
  const std::string shape = fmt::format("H=HV={} batch={} state={}", heads, batch, state);
  const auto cold = bench::measure_interleaved(
      {{name, [&] { return all.call_ms(); }},
       {"its bytes alone, read and written", [&] { return all_bytes.call_ms(); }},
       {"plain loop, g++ -O3, fp32 state", [&] { return plain.call_ms(); }}},
      kRounds);
  bench::print({fmt::format("kda_decode {}, cold ({} problems in turn)", shape, count), "ms a call",
                "the second row, whose ratio is the share reached; goals: 0.80, and 3 for the "
                "plain loop"},
               cold, format);
  const auto warm = bench::measure_interleaved(
      {{name, [&] { return one.call_ms(kWarmCalls); }},
       {"its bytes alone, read and written", [&] { return same_bytes.call_ms(kWarmCalls); }}},
      kRounds);
  bench::print(
      {fmt::format("kda_decode {}, warm (the same states)", shape), "ms a call", "the second row"},
      warm, format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  bench_case(*runtime, 32, 64, "f32", format);
  bench_case(*runtime, 32, 64, "bf16", format);
  bench_case(*runtime, 16, 16, "f32", format);
  bench_case(*runtime, 16, 16, "bf16", format);
}
