// SPDX-License-Identifier: Apache-2.0
// router_gemm and qk_rmsnorm on this host beside what the machine can do in the same run. Cold:
// after 1 GiB of other memory, as a model's other layers leave the caches.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bench/interleaved.h"
#include "runtime/drivers/thread_pool.h"
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

// A copy by the C library on all cores, of as many bytes as a call moves.
class Copy {
 public:
  explicit Copy(double bytes_moved)
      : from_(static_cast<std::size_t>(bytes_moved / 2), std::byte{1}), to_(from_.size()) {}

  double run_ms() {
    constexpr std::size_t kItem = std::size_t{1} << 16;
    const auto items = static_cast<std::int64_t>(from_.size() / kItem);
    return milliseconds([&] {
      pool_.run(items, [&](unsigned, std::int64_t first, std::int64_t last) {
        const auto begin = static_cast<std::size_t>(first) * kItem;
        std::memcpy(to_.data() + begin, from_.data() + begin,
                    static_cast<std::size_t>(last - first) * kItem);
      });
    });
  }

 private:
  ThreadPool pool_;
  std::vector<std::byte> from_, to_;
};

struct Case {
  const char* op;
  std::vector<NameValue> values;
  const char* limit;
};

// The call first, then what its limit alone takes: the ratio of that row is the share reached.
void bench_case(Runtime& runtime, const Case& one, bench::Format format) {
  const Op& op = *require(find_op(one.op));
  const OpArguments arguments = require(parse_arguments(op, one.values));
  const auto trial = require(make_trial(runtime, op, arguments, require(Arch::parse("cpu")), 1));
  Copy copy(trial->bytes_moved());
  const auto rows = bench::measure_interleaved(
      {{trial->selection().implementation->name, [&] { return launch_ms(*trial); }},
       {"its bytes alone, read",
        [&] { return trial->bytes_moved() / measure_bandwidth("read") / 1e6; }},
       {"its bytes alone, copied by memcpy", [&] { return copy.run_ms(); }},
       {"its operations alone (fp32)",
        [&] { return trial->operations() / measure_arithmetic() / 1e6; }}},
      kRounds);
  bench::print(
      {fmt::format("{} {} {}, cold", one.op, arguments.shape.text(), arguments.call.text()), "ms",
       one.limit},
      rows, format);
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const bench::Format format = bench::format_of(argc, argv);
  const char* const read = "the second row; goal 0.80";
  const char* const arithmetic = "the last row; goal 0.50";
  const char* const copy = "the third row; goal 0.80";
  bench_case(*runtime, {"router_gemm", {{"K", "7168"}, {"M", "1"}}, read}, format);
  bench_case(*runtime, {"router_gemm", {{"N", "896"}, {"K", "7168"}, {"M", "1"}}, read}, format);
  bench_case(*runtime, {"router_gemm", {{"K", "7168"}, {"M", "64"}}, arithmetic}, format);
  bench_case(*runtime, {"qk_rmsnorm", {{"M", "4096"}}, copy}, format);
}
