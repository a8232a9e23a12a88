// SPDX-License-Identifier: Apache-2.0
// jitctl run: one op on random inputs: is it right, how fast is it, how near to the limit.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "kiln/simt.h"
#include "runtime/reference/limits.h"
#include "runtime/reference/trial.h"
#include "tools/command.h"
#include "tools/page.h"
#include "tools/request.h"

namespace kiln::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct RunWords {
  RequestWords request;
  std::uint64_t seed = 1;
  double seconds = 0.5;
  bool no_time = false;
};

// What the timed repeats and the limit measured beside them say.
struct Timing {
  double median_us = 0;
  std::size_t repeats = 0;
  double gigabytes_per_s = 0;
  double limit_gigabytes_per_s = 0;  // 0: not measured on this kind of device
  std::string_view limit;
  double gigaflops_per_s = 0;
  double limit_gigaflops_per_s = 0;
};

std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

Result<double> time_once_us(Trial& trial, Driver& driver) {
  const auto start = Clock::now();
  KILN_TRY(trial.launch());
  KILN_TRY(driver.synchronize(0, {}));
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

Result<Timing> time_trial(Trial& trial, Driver& driver, double seconds) {
  Timing timing;
  std::vector<double> times_us;
  KILN_TRY(time_once_us(trial, driver));  // touches every page before the clock counts
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (times_us.size() < 5 || Clock::now() < end) {
    KILN_TRY_ASSIGN(const double time_us, time_once_us(trial, driver));
    times_us.push_back(time_us);
  }
  std::sort(times_us.begin(), times_us.end());
  timing.repeats = times_us.size();
  timing.median_us = times_us[times_us.size() / 2];
  timing.gigabytes_per_s = trial.bytes_moved() / timing.median_us / 1e3;
  timing.limit = trial.traffic();
  timing.gigaflops_per_s = trial.operations() / timing.median_us / 1e3;
  if (driver.name() == "cpu") {
    timing.limit_gigabytes_per_s = measure_bandwidth(trial.traffic());
    timing.limit_gigaflops_per_s = measure_arithmetic();
  }
  return timing;
}

ExitCode report_errors(const std::vector<OutputError>& errors, Json& result, bool print) {
  bool passed = true;
  result["outputs"] = Json::array();
  for (const OutputError& error : errors) {
    passed = passed && error.passed();
    if (print) {
      constexpr std::size_t kTextColumn = 22;
      const std::string text = fmt::format("largest error {:.3g}, {:.2f} of what is allowed ({})",
                                           error.abs_max, error.bound_ratio, error.allowed);
      fmt::print("{:<15} {}: {}\n", error.name,
                 error.passed() ? painted(Colour::green, "right", stdout)
                                : painted(Colour::red, "WRONG", stdout),
                 folded(text, kTextColumn + 1));
    }
    result["outputs"].push_back({{"name", error.name},
                                 {"passed", error.passed()},
                                 {"error_abs_max", error.abs_max},
                                 {"bound_ratio", error.bound_ratio},
                                 {"allowed", error.allowed}});
  }
  result["passed"] = passed;
  return passed ? ExitCode::done : ExitCode::failed;
}

// ", 90 % of this machine's 52.9 GB/s (read)", or nothing where the limit was not measured.
std::string share_text(double value, double limit, std::string_view unit) {
  if (limit == 0) return "";
  return fmt::format(", {:.0f} % of this machine's {:.1f} {}", 100 * value / limit, limit, unit);
}

void report_timing(const Timing& timing, const Trial& trial, Json& result, bool print) {
  const double bandwidth = timing.gigabytes_per_s;
  if (print) {
    fmt::print("time            {:.1f} us, median of {}\n", timing.median_us, timing.repeats);
    fmt::print("bandwidth       {:.1f} GB/s for {:.1f} MB{}\n", bandwidth,
               trial.bytes_moved() / 1e6,
               share_text(bandwidth, timing.limit_gigabytes_per_s,
                          fmt::format("GB/s ({})", timing.limit)));
    fmt::print("arithmetic      {:.1f} GFLOP/s{}\n", timing.gigaflops_per_s,
               share_text(timing.gigaflops_per_s, timing.limit_gigaflops_per_s, "GFLOP/s (fp32)"));
  }
  result["time_us"] = timing.median_us;
  result["repeats"] = timing.repeats;
  result["bytes_moved"] = trial.bytes_moved();
  result["gigabytes_per_s"] = bandwidth;
  result["gigaflops_per_s"] = timing.gigaflops_per_s;
  if (timing.limit_gigabytes_per_s == 0) return;
  result["limit"] = timing.limit;
  result["limit_gigabytes_per_s"] = timing.limit_gigabytes_per_s;
  result["share_of_limit"] = bandwidth / timing.limit_gigabytes_per_s;
  result["limit_gigaflops_per_s"] = timing.limit_gigaflops_per_s;
}

ExitCode run(Session& session, const RunWords& words) {
  KILN_CLI_TRY_ASSIGN(const OpRequest request, session,
                      parse_request(words.request, CallParams::allowed));
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(Driver* const driver, session, runtime->driver(request.arch));
  if (SimtDriver* const simt = SimtDriver::of(driver)) simt->set_seed(words.seed);
  KILN_CLI_TRY_ASSIGN(
      const std::unique_ptr<Trial> trial, session,
      make_trial(*runtime, *request.op, request.arguments, request.arch, words.seed));
  if (const auto launched = trial->launch(); !launched) return session.fail(launched.error());
  const std::int64_t launched_at_ns = monotonic_ns();
  const bool print = !session.json;
  const std::string& name = trial->selection().implementation->name;
  if (print) {
    fmt::print("op              {}\n",
               folded(fmt::format("{} {} {}", request.op->name, request.arguments.shape.text(),
                                  request.arguments.call.text()),
                      16));
    fmt::print("arch            {}\nimplementation  {}\n", request.arch.name(), name);
  }
  Json result = {{"op", request.op->name},
                 {"shape", to_json(request.arguments.shape)},
                 {"call", to_json(request.arguments.call)},
                 {"arch", request.arch.name()},
                 {"implementation", name},
                 {"seed", words.seed},
                 {"launched_at_monotonic_ns", launched_at_ns}};
  if (const auto reset = trial->reset(); !reset) return session.fail(reset.error());
  if (const auto launched = trial->launch(); !launched) return session.fail(launched.error());
  KILN_CLI_TRY_ASSIGN(const std::vector<OutputError> errors, session, trial->compare());
  const ExitCode code = report_errors(errors, result, print);
  if (!words.no_time) {
    KILN_CLI_TRY_ASSIGN(const Timing timing, session, time_trial(*trial, *driver, words.seconds));
    report_timing(timing, *trial, result, print);
  }
  return session.finish(std::move(result), code);
}

}  // namespace

Action add_run(CLI::App& app, Session& session) {
  auto words = std::make_shared<RunWords>();
  words->request.add_to(app);
  words->request.add_simt_to(app);
  app.add_option("--seed", words->seed,
                 "Of the random inputs; with --arch simt also of the order in which threads run")
      ->capture_default_str();
  app.add_option("--seconds", words->seconds, "How long to repeat for the time")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_flag("--no-time", words->no_time, "Only compare with the reference");
  return [words, &session] { return run(session, *words); };
}

}  // namespace kiln::cli
