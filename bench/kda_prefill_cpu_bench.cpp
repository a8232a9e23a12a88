// SPDX-License-Identifier: Apache-2.0
// kda_prefill on one thread of this host, in chunks, beside the recurrence over tokens, Kiln's own
// and a plain loop by g++ -O3, and beside the machine's arithmetic: T = 4,096 tokens of 4 heads,
// K = V = 128. Limits: the products with the state alone are 3 K V multiply-adds for a token and
// head, the recurrence's are 4 K V.
#include <fmt/format.h>
#include <sched.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/interleaved.h"
#include "bench/kda_plain_loop.h"
#include "kiln/runtime.h"
#include "runtime/reference/limits.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;

constexpr int kRounds = 7;
constexpr std::int64_t kHeads = 4, kTokens = 4096, kSize = 128;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

// One call by one implementation.
class Call {
 public:
  Call(const char* implementation, const std::vector<NameValue>& given) {
    Options options = require(Options::from_environment());
    options.only_implementation = fmt::format("kda_prefill/{}", implementation);
    runtime_ = require(Runtime::create(std::move(options)));
    const Op& op = *require(find_op("kda_prefill"));
    trial_ = require(make_trial(*runtime_, op, require(parse_arguments(op, given)),
                                require(Arch::parse("cpu")), 1));
    if (std::isnan(run_ms())) {
      fmt::print(stderr, "bench: {} does not run\n", implementation);
      std::exit(1);
    }
  }
  double run_ms() {
    const auto start = std::chrono::steady_clock::now();
    const bool done = static_cast<bool>(trial_->launch());
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    return done ? took.count() : std::nan("");
  }
  // At `operations` per token and head and element of the state.
  double peak_ms(double operations) const {
    return trial_->operations() / 8 * operations / measure_arithmetic() / 1e6;
  }

 private:
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Trial> trial_;
};

// The recurrence as a plain loop, a head after the other. Its gate is per key.
class PlainLoop {
 public:
  double run_ms() {
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t h = 0; h < kHeads; ++h) {
      for (std::int64_t t = 0; t < kTokens; ++t) {
        const std::int64_t row = (t * kHeads + h) * kSize;
        const std::uint16_t* const in = rows_.data() + row;
        bench::kda_plain_loop({in, in, in, in, in}, 0.5F, kSize, kSize,
                              state_.data() + h * kSize * kSize, out_.data() + row);
      }
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    return took.count();
  }

 private:
  std::vector<float> state_ = std::vector<float>(kHeads * kSize * kSize, 0.25F);
  std::vector<std::uint16_t> rows_ = std::vector<std::uint16_t>(kTokens * kHeads * kSize, 0x3e00);
  std::vector<std::uint16_t> out_ = std::vector<std::uint16_t>(rows_.size());
};

void bench_case(const std::vector<NameValue>& given, const char* what, bench::Format format) {
  Call chunked("chunked_cpu", given), recurrence("cpu", given);
  PlainLoop plain;
  const auto rows = bench::measure_interleaved(
      {{"kda_prefill/chunked_cpu", [&] { return chunked.run_ms(); }},
       {"kda_prefill/cpu, token by token", [&] { return recurrence.run_ms(); }},
       {"plain loop over tokens, g++ -O3", [&] { return plain.run_ms(); }},
       {"3 K V multiply-adds at the machine's peak", [&] { return chunked.peak_ms(6); }},
       {"4 K V multiply-adds at the machine's peak", [&] { return chunked.peak_ms(8); }}},
      kRounds);
  bench::print(
      {fmt::format("kda_prefill {}, one thread", what), "ms",
       "the recurrence: 5 (Kiln's own has the last row for its limit); the peak's rows: the "
       "share reached"},
      rows, format);
}

}  // namespace

int main(int argc, char** argv) {
  cpu_set_t one;  // before any thread pool counts the cores
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  if (sched_setaffinity(0, sizeof one, &one) != 0) {
    fmt::print(stderr, "bench: this process may not run on core 0\n");
    return 1;
  }
  const bench::Format format = bench::format_of(argc, argv);
  const std::vector<NameValue> base = {{"H", std::to_string(kHeads)},
                                       {"HV", std::to_string(kHeads)},
                                       {"batch", "1"},
                                       {"tokens", std::to_string(kTokens)}};
  bench_case(base, "H=4 T=4096", format);
  std::vector<NameValue> scalar = base;
  scalar.push_back({"gate", "scalar"});
  bench_case(scalar, "H=4 T=4096 gate=scalar", format);
}
