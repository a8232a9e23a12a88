// SPDX-License-Identifier: Apache-2.0
// The CPU as a SIMT machine: what a barrier of 256 threads costs, and a block of kda_decode.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "bench/interleaved.h"
#include "kiln/simt.h"
#include "runtime/reference/trial.h"
#include "templates/sources.h"

namespace {

using namespace kiln;

constexpr int kBarriers = 1000;

void require(const Result<void>& result) {
  if (result) return;
  fmt::print(stderr, "bench: {}\n{}", result.error().message, result.error().log);
  std::exit(1);
}
template <class T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "bench: {}\n{}", result.error().message, result.error().log);
  std::exit(1);
}

CompileInput barriers_kernel(const Arch& arch) {
  CompileInput input{"simt_bench", "simt_bench/barriers", {}, arch, {}, {}, {}, {}};
  input.source = {"barriers.cu", R"(#include "kiln/barrier.h"
#include "kiln/kernel.h"
struct Params { int barriers; };
namespace kiln {
KILN_KERNEL(256, 1) barriers(KILN_PARAMS(Params) p) {
  for (int i = 0; i < p.barriers; ++i) block_barrier();
}
}
)"};
  input.headers = require(reached_headers(input.source.text, {}));
  input.name_expressions = {"kiln::barriers"};
  input.options = {"-std=c++17", "-DKILN_DIALECT_SIMT=1", "-DKILN_CHECKED=0", "-DKILN_DEBUG=0",
                   "-DKILN_WARP_SIZE=32"};
  return input;
}

template <class Work>
double microseconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

int main(int argc, char** argv) {
  const auto runtime = require(Runtime::create(require(Options::from_environment())));
  const Arch arch = require(Arch::parse("simt"));
  SimtDriver* const driver = SimtDriver::of(require(runtime->driver(arch)));
  const auto kernel = require(runtime->kernel(barriers_kernel(arch)));
  LaunchStep step;
  step.dims.block.x = 256;
  const auto barrier_us = [&](std::uint64_t seed) {
    driver->set_seed(seed);
    const double us =
        microseconds([&] { require(kernel->launch({step}, &kBarriers, sizeof kBarriers, {})); });
    driver->set_seed(0);
    return us / kBarriers;
  };
  // One state: as many blocks as kda_decode gives to one 128x128 matrix, all its work.
  const Op& op = *require(find_op("kda_decode"));
  const std::vector<NameValue> one_state = {{"H", "1"}, {"HV", "1"}, {"batch", "1"}};
  const auto trial_of = [&](const char* name) {
    return require(make_trial(*runtime, op, require(parse_arguments(op, one_state)),
                              require(Arch::parse(name)), 1));
  };
  const auto plain = trial_of("simt");
  const auto checked = trial_of("simt:checked");
  const auto rows = bench::measure_interleaved(
      {{"barrier of 256 threads", [&] { return barrier_us(0); }},
       {"the same in random order", [&] { return barrier_us(1); }},
       {"kda_decode of one 128x128 state",
        [&] { return microseconds([&] { require(plain->launch()); }); }},
       {"the same, checked", [&] { return microseconds([&] { require(checked->launch()); }); }}},
      21);
  bench::print({"SIMT machine", "us",
                "256 switches of fibers; goals: barrier 5 us, kda_decode unchecked 5,000 us"},
               rows, bench::format_of(argc, argv));
}
