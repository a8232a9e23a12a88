// SPDX-License-Identifier: Apache-2.0
// kda_decode on this host, beside the memory's read-modify-write bandwidth and a plain loop that
// g++ -O3 compiled: states of both types, and batches from 16 on. Cold: after 1 GiB of other
// memory, as a model's other layers leave the caches. Warm: again and again on the same states,
// beside the bandwidth of as many bytes used again and again; the caches may hold them.
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

template <class Work>
double warm_ms(Work work) {
  constexpr int kRepeats = 8;
  work();
  double sum_ms = 0;
  for (int i = 0; i < kRepeats; ++i) sum_ms += work();
  return sum_ms / kRepeats;
}

// Reads and writes every word of a working set.
class SameBytes {
 public:
  explicit SameBytes(double bytes_moved)
      : words_(static_cast<std::size_t>(bytes_moved / 2 / sizeof(std::uint32_t))) {}

  double run_ms() {
    constexpr std::int64_t kWordsPerItem = 8192;
    const auto size = static_cast<std::int64_t>(words_.size());
    return milliseconds([&] {
      pool_.run(size / kWordsPerItem, [&](unsigned, std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first * kWordsPerItem; i < last * kWordsPerItem; ++i) {
          words_[static_cast<std::size_t>(i)] += 1;
        }
      });
    });
  }

 private:
  ThreadPool pool_;
  std::vector<std::uint32_t> words_;
};

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
  SameBytes same(bytes);
  const auto warm =
      bench::measure_interleaved({{trial->selection().implementation->name,
                                   [&] { return warm_ms([&] { return launch_ms(*trial); }); }},
                                  {"as many bytes alone (read-modify-write)",
                                   [&] { return warm_ms([&] { return same.run_ms(); }); }}},
                                 kRounds);
  const std::string shape = fmt::format("H=HV={} batch={} state={}", heads, batch, state);
  bench::print({fmt::format("kda_decode {}, warm", shape), "ms",
                "the second row, of a working set that stays the same"},
               warm, format);
  bench::print({fmt::format("kda_decode {}, cold", shape), "ms",
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
