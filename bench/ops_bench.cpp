// SPDX-License-Identifier: Apache-2.0
// Every op on this host, or those that are named, at a real model's shape, against what the
// machine's memory and arithmetic can do in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "bench/interleaved.h"
#include "runtime/reference/limits.h"
#include "runtime/reference/trial.h"

namespace {

using namespace kiln;

constexpr int kRounds = 9;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

double launch_ms(Trial& trial) {
  const auto start = std::chrono::steady_clock::now();
  if (!trial.launch()) return std::nan("");
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// The op first, then the least times that its bytes and its operations allow: the larger of these
// two ratios is the share of the limit that the op reaches.
void bench_op(Runtime& runtime, const Op& op, const Arch& arch, bench::Format format) {
  const OpArguments arguments = require(parse_arguments(op, {}));
  const auto trial = require(make_trial(runtime, op, arguments, arch, 1));
  const double bytes = trial->bytes_moved();
  const auto rows = bench::measure_interleaved(
      {{trial->selection().implementation->name, [&] { return launch_ms(*trial); }},
       {fmt::format("its bytes alone ({})", trial->traffic()),
        [&] { return bytes / measure_bandwidth(trial->traffic()) / 1e6; }},
       {"its operations alone (fp32)",
        [&] { return trial->operations() / measure_arithmetic() / 1e6; }}},
      kRounds);
  bench::print({fmt::format("{} {} {} on {}", op.name, arguments.shape.text(),
                            arguments.call.text(), arch.name()),
                "ms", "the larger of the other two rows; its ratio is the share reached"},
               rows, format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const Arch arch = require(Arch::parse("cpu"));
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const auto is_named = [&](std::string_view name) {
    return std::find(words.begin(), words.end(), name) != words.end();
  };
  const bool all = std::none_of(words.begin(), words.end(),
                                [](std::string_view word) { return word.front() != '-'; });
  for (const Op& op : ops()) {
    if (all || is_named(op.name)) bench_op(*runtime, op, arch, bench::format_of(argc, argv));
  }
}
