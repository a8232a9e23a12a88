// SPDX-License-Identifier: Apache-2.0
// A warm process: from its spawn to the moment after the kernel's first launch.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/interleaved.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace kiln;

std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Milliseconds from spawn to launch; NaN unless the process hit the disk and compiled nothing.
double start_to_launch_ms(const std::vector<std::string>& words,
                          const test::Environment& environment) {
  const std::int64_t start_ns = monotonic_ns();
  const auto result = test::run_process(words, environment);
  const auto object = nlohmann::json::parse(result.out, nullptr, false);
  if (result.exit_code != 0 || object.is_discarded()) return std::nan("");
  if (object["stats"]["compiles"] != 0 || object["stats"]["disk_hits"] != 1) return std::nan("");
  return static_cast<double>(object["launched_at_monotonic_ns"].get<std::int64_t>() - start_ns) /
         1e6;
}

double whole_process_ms(const std::vector<std::string>& words) {
  const std::int64_t start_ns = monotonic_ns();
  if (test::run_process(words).exit_code != 0) return std::nan("");
  return static_cast<double>(monotonic_ns() - start_ns) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const test::TempFolder folder;
  const test::Environment environment = {{"KILN_CACHE_DIR", (folder.path() / "cache").string()},
                                         {"KILN_CACHE_POLICY", "read_write"}};
  const std::vector<std::string> run = {KILN_JITCTL, "run",     "kda_decode", "H=8",
                                        "HV=8",      "batch=1", "--no-time",  "--json"};
  (void)test::run_process({KILN_JITCTL, "prewarm", "kda_decode", "H=8", "HV=8"}, environment);
  const auto rows = bench::measure_interleaved(
      {{"jitctl run, spawn to launch, warm", [&] { return start_to_launch_ms(run, environment); }},
       {"jitctl --version, spawn to exit",
        [&] {
          return whole_process_ms({KILN_JITCTL, "--version"});
        }}},
      41);
  bench::print({"warm start", "ms",
                "starting a dynamic C++ process, about 1.1 ms; the goal is 10 ms. A warm Jitify2 "
                "process was measured at 44 ms and a Dr.Jit one at 19 ms on such a machine"},
               rows, bench::format_of(argc, argv));
}
