// SPDX-License-Identifier: Apache-2.0
// kiln-worker: what a question costs without the compile, and what a second job at a time gains.
//   worker_bench [--json] [round_trip] [nvrtc] [hiprtc]     default: all of them
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <set>

#include "bench/interleaved.h"
#include "jit/worker/protocol.h"
#include "jit/worker/worker_pool.h"
#include "kiln/runtime.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace kiln;
using Clock = std::chrono::steady_clock;

constexpr int kQuestionsPerRepeat = 200;
constexpr int kRounds = 11;
constexpr int kPrewarmRounds = 5;

template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n", result.error().message);
  std::exit(1);
}

// A real request: the sources of a built-in kernel.
CompileInput built_in_input() {
  const Op& op = *require(find_op("kda_decode"));
  const Shape shape = require(parse_arguments(op, {})).shape;
  const Arch arch = require(Arch::parse("gfx90a"));
  for (const Implementation& implementation : op.implementations) {
    if (can_build(implementation, shape, arch)) {
      return require(make_input(op, implementation, shape, arch));
    }
  }
  std::exit(1);
}

double us_each(const std::function<bool()>& ask) {
  const auto start = Clock::now();
  for (int i = 0; i < kQuestionsPerRepeat; ++i) {
    if (!ask()) return std::nan("");
  }
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count() /
         kQuestionsPerRepeat;
}

void round_trip(bench::Format format) {
  const CompileInput input = built_in_input();
  Options options = require(Options::from_environment());
  WorkerPool pool(options.compilers);
  const auto ask = [&] {
    Record request;
    request.add("ask", name_of(Ask::check));
    request.add("compiler", "hiprtc");
    add_input(request, input);
    const auto reply = pool.ask(request);
    if (!reply) fmt::print(stderr, "bench: {}\n", reply.error().what);
    return reply.has_value();
  };
  std::size_t bytes = input.source.text.size();
  for (const SourceText& header : input.headers) bytes += header.text.size();
  bench::print(
      {fmt::format("a question with {} KiB of sources, checked but not compiled", bytes >> 10),
       "us", "the check itself; the goal for the worker is at most 200 us"},
      bench::measure_interleaved(
          {{"checked in this process",
            [&] { return us_each([&] { return input.check().has_value(); }); }},
           {"written, sent, read, checked, answered", [&] { return us_each(ask); }}},
          kRounds),
      format);
}

// The model's kernels into an empty cache.
double prewarm_s(const std::string& arch, int jobs) {
  const test::TempFolder folder;
  const auto start = Clock::now();
  const auto result = test::run_process(
      {KILN_JITCTL, "prewarm", "--config", KILN_MODEL_CONFIG, "--tp", "4", "--arch", arch, "--jobs",
       fmt::format("{}", jobs)},
      {{"KILN_CACHE_DIR", (folder.path() / "cache").string()}, {"KILN_CACHE_POLICY", ""}});
  const double time_s = std::chrono::duration<double>(Clock::now() - start).count();
  if (result.exit_code == 0) return time_s;
  fmt::print(stderr, "{}{}\n", result.out, result.err);
  return std::nan("");
}

void jobs(const char* compiler, const std::string& arch, bench::Format format) {
  bench::print(
      {fmt::format("prewarm of Kimi-Linear for {} by {}", arch, compiler), "s",
       "two cores: half the first row; the goal is a ratio of at most 0.59 (1.7 times as fast)"},
      bench::measure_interleaved({{"--jobs 1", [&] { return prewarm_s(arch, 1); }},
                                  {"--jobs 2", [&] { return prewarm_s(arch, 2); }}},
                                 kPrewarmRounds),
      format);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Format format = bench::format_of(argc, argv);
  std::set<std::string> wanted(argv + 1, argv + argc);
  wanted.erase("--json");
  const auto wants = [&](const char* name) { return wanted.empty() || wanted.contains(name); };
  if (wants("round_trip")) round_trip(format);
  if (wants("nvrtc")) jobs("NVRTC", "sm_90a", format);
  if (wants("hiprtc")) jobs("hipRTC", "gfx90a", format);
}
