// SPDX-License-Identifier: Apache-2.0
// kda_decode on this host, beside the memory's read-modify-write bandwidth and a plain loop that
// g++ -O3 compiled: states of both types, and batches from 16 on.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/interleaved.h"
#include "bench/kda_plain_loop.h"
#include "kiln/kda_decode.h"
#include "runtime/drivers/thread_pool.h"
#include "runtime/reference/limits.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;

constexpr int kRounds = 7;
constexpr std::int64_t kSize = 128;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

template <class Work>
double milliseconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

double launch_ms(Trial& trial) {
  bool done = false;
  const double ms = milliseconds([&] { done = static_cast<bool>(trial.launch()); });
  return done ? ms : std::nan("");
}

// The same work by the plain loop, on as many threads.
class PlainLoop {
 public:
  PlainLoop(std::int64_t heads, std::int64_t batch)
      : states_(heads * batch),
        state_(static_cast<std::size_t>(states_ * kSize * kSize), 0.25F),
        rows_(static_cast<std::size_t>(states_ * kSize), 0x3e00),
        out_(rows_.size()) {}

  double run_ms() {
    return milliseconds([&] {
      pool_.run(states_, [&](unsigned, std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const std::uint16_t* row = rows_.data() + i * kSize;
          bench::kda_plain_loop({row, row, row, row, row}, 0.5F, kSize, kSize,
                                state_.data() + i * kSize * kSize, out_.data() + i * kSize);
        }
      });
    });
  }

 private:
  ThreadPool pool_;
  std::int64_t states_;
  std::vector<float> state_;
  std::vector<std::uint16_t> rows_;
  std::vector<std::uint16_t> out_;
};

void bench_case(Runtime& runtime, std::int64_t heads, std::int64_t batch, const char* state,
                bench::Format format) {
  const Op& op = *require(find_op("kda_decode"));
  const std::string h = std::to_string(heads);
  const std::vector<NameValue> given = {
      {"H", h}, {"HV", h}, {"batch", std::to_string(batch)}, {"state", state}};
  const OpArguments arguments = require(parse_arguments(op, given));
  const auto trial = require(make_trial(runtime, op, arguments, require(Arch::parse("cpu")), 1));
  const double bytes = trial->bytes_moved();
  PlainLoop plain(heads, batch);
  const auto rows = bench::measure_interleaved(
      {{trial->selection().implementation->name, [&] { return launch_ms(*trial); }},
       {"its bytes alone (read-modify-write)",
        [&] { return bytes / measure_bandwidth("read-modify-write") / 1e6; }},
       {"plain loop, g++ -O3, fp32 state", [&] { return plain.run_ms(); }}},
      kRounds);
  bench::print({fmt::format("kda_decode H=HV={} batch={} state={}", heads, batch, state), "ms",
                "the second row, whose ratio is the share reached; goals: 0.80, and 3 for the "
                "plain loop"},
               rows, format);
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
