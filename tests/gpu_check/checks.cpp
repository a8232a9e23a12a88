// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/checks.h"

#include <fmt/format.h>

#include <array>

#include "runtime/reference/trial.h"
#include "tests/gpu_check/cases.h"

namespace kiln::gpu_check {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{1} << 30;
constexpr int kStreams = 4;

Result<void*> make_stream(const Card& card) {
  void* stream = nullptr;
  KILN_TRY(CudaCalls::check("cuStreamCreate", card.cuda.cuStreamCreate(&stream, 1)));
  return stream;
}

Result<std::unique_ptr<Trial>> trial_of(const Card& card, const Case& each, void* stream,
                                        std::uint64_t seed) {
  KILN_TRY_ASSIGN(const Op* const op, find_op(each.op));
  KILN_TRY_ASSIGN(const OpArguments arguments, parse_arguments(*op, each.arguments));
  return make_trial(card.runtime, *op, arguments, card.arch, seed, Stream{stream});
}

Result<std::string> within_bounds(Trial& trial) {
  KILN_TRY_ASSIGN(const auto errors, trial.compare());
  std::string text = trial.selection().implementation->name;
  bool passed = true;
  for (const OutputError& error : errors) {
    text += fmt::format(", {} {:.2g} of {}", error.name, error.bound_ratio, error.allowed);
    passed &= error.passed();
  }
  if (!passed) return fail(ErrorCode::driver_failed, "differs from the fp64 reference: " + text);
  return text;
}

Result<void> synchronize(const Card& card, void* stream) {
  return CudaCalls::check("cuStreamSynchronize", card.cuda.cuStreamSynchronize(stream));
}

Result<std::string> run_plainly(const Card& card, const Case& each) {
  KILN_TRY_ASSIGN(void* const stream, make_stream(card));
  KILN_TRY_ASSIGN(const auto trial, trial_of(card, each, stream, 1));
  KILN_TRY(trial->reset());
  KILN_TRY(trial->launch());
  KILN_TRY(synchronize(card, stream));
  return within_bounds(*trial);
}

// Nothing may compile or load during the capture, so one launch goes before it. Outputs are
// poisoned and inputs written anew between the replays.
Result<std::string> run_as_graph(const Card& card, const Case& each) {
  KILN_TRY_ASSIGN(void* const stream, make_stream(card));
  KILN_TRY_ASSIGN(const auto trial, trial_of(card, each, stream, 2));
  KILN_TRY(trial->launch());
  KILN_TRY(synchronize(card, stream));
  KILN_TRY_ASSIGN(void* const graph, card.cuda.capture(stream, [&] { return trial->launch(); }));
  std::string text;
  for (int replay = 0; replay < 2; ++replay) {
    KILN_TRY(trial->reset());
    KILN_TRY(CudaCalls::check("cuGraphLaunch", card.cuda.cuGraphLaunch(graph, stream)));
    KILN_TRY(synchronize(card, stream));
    KILN_TRY_ASSIGN(text, within_bounds(*trial));
  }
  card.cuda.cuGraphExecDestroy(graph);
  return "2 replays, " + text;
}

// After one replay the state is that of one call, after the next it is not: a replay reads what the
// last one wrote.
Result<std::string> replay_sees_changed_inputs(const Card& card) {
  const Case& each = cases().front();
  KILN_TRY_ASSIGN(void* const stream, make_stream(card));
  KILN_TRY_ASSIGN(const auto first, trial_of(card, each, stream, 3));
  KILN_TRY(first->reset());
  KILN_TRY(first->launch());
  KILN_TRY_ASSIGN(void* const graph, card.cuda.capture(stream, [&] { return first->launch(); }));
  KILN_TRY(first->reset());
  KILN_TRY(CudaCalls::check("cuGraphLaunch", card.cuda.cuGraphLaunch(graph, stream)));
  KILN_TRY(synchronize(card, stream));
  KILN_TRY(within_bounds(*first));
  KILN_TRY(CudaCalls::check("cuGraphLaunch", card.cuda.cuGraphLaunch(graph, stream)));
  KILN_TRY(synchronize(card, stream));
  // One call's reference must NOT fit what two calls have made of the state.
  KILN_TRY_ASSIGN(const auto errors, first->compare());
  for (const OutputError& error : errors) {
    if (error.name == "state" && !error.passed()) return "the second replay went on from the first";
  }
  return fail(ErrorCode::driver_failed, "the second replay did not go on from the first's state");
}

Result<std::string> run_on_several_streams(const Card& card) {
  std::array<std::unique_ptr<Trial>, kStreams> trials;
  std::array<void*, kStreams> streams{};
  for (std::size_t i = 0; i < kStreams; ++i) {
    KILN_TRY_ASSIGN(streams[i], make_stream(card));
    const Case& each = cases()[i % cases().size()];
    KILN_TRY_ASSIGN(trials[i], trial_of(card, each, streams[i], 10 + i));
    KILN_TRY(trials[i]->reset());
  }
  for (const auto& trial : trials) KILN_TRY(trial->launch());
  for (std::size_t i = 0; i < kStreams; ++i) {
    KILN_TRY(synchronize(card, streams[i]));
    KILN_TRY(within_bounds(*trials[i]));
  }
  return fmt::format("{} streams at once", kStreams);
}

Result<double> copy_gb_per_s(const Card& card) {
  KILN_TRY_ASSIGN(Driver* const driver, card.runtime.driver(card.arch));
  KILN_TRY_ASSIGN(const auto from, driver->allocate(0, kCopyBytes));
  KILN_TRY_ASSIGN(const auto to, driver->allocate(0, kCopyBytes));
  KILN_TRY_ASSIGN(const double ms, card.cuda.time_ms(nullptr, 11, [&] {
    return CudaCalls::check("cuMemcpyDtoDAsync", card.cuda.cuMemcpyDtoDAsync_v2(
                                                     reinterpret_cast<std::uint64_t>(to->data()),
                                                     reinterpret_cast<std::uint64_t>(from->data()),
                                                     kCopyBytes, nullptr));
  }));
  return 2.0 * kCopyBytes / ms / 1e6;  // read and written
}

Result<double> matrix_tflop_per_s(const Card& card) {
  constexpr int kBlocks = 2048;
  constexpr int kLoops = 2000;
  KILN_TRY_ASSIGN(const auto kernel, card.runtime.kernel(matrix_rate_input(card.arch)));
  KILN_TRY_ASSIGN(Driver* const driver, card.runtime.driver(card.arch));
  KILN_TRY_ASSIGN(const auto out, driver->allocate(0, kBlocks * kMatrixRateWarps * 32 * 4));
  const MatrixRateParams params{static_cast<float*>(out->data()), kLoops};
  LaunchStep step;
  step.dims.grid.x = kBlocks;
  step.dims.block.x = kMatrixRateWarps * 32;
  KILN_TRY_ASSIGN(const double ms, card.cuda.time_ms(nullptr, 11, [&] {
    return kernel->launch({step}, &params, sizeof params, {});
  }));
  return kBlocks * double{kMatrixRateWarps} * kLoops * kMatrixRateFlopsPerWarpAndLoop / ms / 1e9;
}

Result<Speed> speed_of(const Card& card, const Case& each, const Report& report) {
  KILN_TRY_ASSIGN(void* const stream, make_stream(card));
  KILN_TRY_ASSIGN(const auto trial, trial_of(card, each, stream, 5));
  KILN_TRY(trial->reset());
  KILN_TRY(trial->launch());
  KILN_TRY_ASSIGN(void* const graph, card.cuda.capture(stream, [&] { return trial->launch(); }));
  KILN_TRY_ASSIGN(const double ms, card.cuda.time_ms(stream, 51, [&] {
    return CudaCalls::check("cuGraphLaunch", card.cuda.cuGraphLaunch(graph, stream));
  }));
  card.cuda.cuGraphExecDestroy(graph);
  const double by_bytes_ms = trial->bytes_moved() / report.copy_gb_per_s / 1e6;
  const double by_flops_ms = trial->operations() / report.matrix_tflop_per_s / 1e9;
  const bool bytes_bind = by_bytes_ms >= by_flops_ms;
  return Speed{each.name(),
               ms * 1e3,
               (bytes_bind ? trial->bytes_moved() / 1e6 : trial->operations() / 1e9) / ms,
               bytes_bind ? "GB/s" : "TFLOP/s",
               (bytes_bind ? by_bytes_ms : by_flops_ms) / ms,
               trial->selection().implementation->name};
}

}  // namespace

void check_ops(const Card& card, Report& report) {
  for (const Case& each : cases()) report.add("correctness", each.name(), run_plainly(card, each));
  for (const Case& each : cases()) report.add("graphs", each.name(), run_as_graph(card, each));
}

void check_streams_and_graphs(const Card& card, Report& report) {
  report.add("graphs", "a replay sees changed inputs", replay_sees_changed_inputs(card));
  report.add("streams", fmt::format("{} ops at once", kStreams), run_on_several_streams(card));
}

void measure_speed(const Card& card, Report& report) {
  const auto copy = copy_gb_per_s(card);
  const auto matrix = copy ? matrix_tflop_per_s(card) : Result<double>(fail(copy.error()));
  if (!matrix) return report.add("speed", "the card's limits", fail(matrix.error()));
  report.copy_gb_per_s = *copy;
  report.matrix_tflop_per_s = *matrix;
  for (const Case& each : cases()) {
    auto speed = speed_of(card, each, report);
    if (speed) {
      report.speeds.push_back(std::move(*speed));
    } else {
      report.add("speed", each.name(), fail(speed.error()));
    }
  }
}

void say_not_run(const std::string& why, Report& report) {
  for (const Case& each : cases()) {
    report.add("correctness", each.name(), Outcome::not_run, why);
  }
  for (const Case& each : cases()) report.add("graphs", each.name(), Outcome::not_run, why);
  report.add("graphs", "a replay sees changed inputs", Outcome::not_run, why);
  report.add("streams", fmt::format("{} ops at once", kStreams), Outcome::not_run, why);
  report.add("speed", "the speed table", Outcome::not_run, why);
}

}  // namespace kiln::gpu_check
