// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu_check/checks.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "runtime/reference/trial.h"
#include "tests/gpu_check/cases.h"

namespace kiln::gpu_check {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{1} << 30;
constexpr int kStreams = 4;
constexpr int kCallsInGraph = 20;  // so that the time is not that of launching the graph

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

// The median of one call of many in a graph, on the same tensors each time: what fits into the L2
// cache stays there.
Result<Speed> speed_of(const Card& card, const Case& each, const Report& limits) {
  KILN_TRY_ASSIGN(void* const stream, make_stream(card));
  KILN_TRY_ASSIGN(const auto trial, trial_of(card, each, stream, 5));
  KILN_TRY(trial->reset());
  KILN_TRY(trial->launch());
  KILN_TRY_ASSIGN(void* const graph, card.cuda.capture(stream, [&]() -> Result<void> {
    for (int i = 0; i < kCallsInGraph; ++i) KILN_TRY(trial->launch());
    return {};
  }));
  KILN_TRY_ASSIGN(const double graph_ms, card.cuda.time_ms(stream, 11, [&] {
    return CudaCalls::check("cuGraphLaunch", card.cuda.cuGraphLaunch(graph, stream));
  }));
  const double ms = graph_ms / kCallsInGraph;
  card.cuda.cuGraphExecDestroy(graph);
  const double by_bytes_ms = trial->bytes_moved() / limits.copy_gb_per_s / 1e6;
  const double by_flops_ms = trial->operations() / limits.matrix_tflop_per_s / 1e9;
  const bool bytes_bind = by_bytes_ms >= by_flops_ms;
  return Speed{each.name(),
               ms * 1e3,
               (bytes_bind ? trial->bytes_moved() / 1e6 : trial->operations() / 1e9) / ms,
               bytes_bind ? "GB/s" : "TFLOP/s",
               (bytes_bind ? by_bytes_ms : by_flops_ms) / ms,
               trial->selection().implementation->name};
}

// The implementations that can be built for a case.
std::vector<std::string> implementations_of(const Case& each, const Arch& arch) {
  const auto op = find_op(each.op);
  const auto arguments =
      op ? parse_arguments(**op, each.arguments) : Result<OpArguments>(fail(op.error()));
  if (!arguments) return {};
  std::vector<std::string> names;
  for (const Implementation& one : (*op)->implementations) {
    if (can_build(one, arguments->shape, arch)) names.push_back(one.name);
  }
  return names;
}

// The error of a call for which the one implementation that may serve cannot.
bool says_that_it_cannot_serve(const Error& error) {
  return error.code == ErrorCode::unavailable && error.message.starts_with("no implementation of ");
}

Job alone(const Case& each, const std::string& implementation) {
  return {"each implementation", each.name(), implementation,
          [&each](const Card& card, Report& to) {
            const auto result = run_plainly(card, each);
            if (!result && says_that_it_cannot_serve(result.error())) return;
            to.add("each implementation", each.name(), result);
          }};
}

Job speed_job(const std::string& op, const std::string& implementation, const Report& limits) {
  return {"speed", op, implementation, [op, &limits](const Card& card, Report& to) {
            for (const Case& each : cases()) {
              if (each.op != op) continue;
              auto speed = speed_of(card, each, limits);
              if (speed) {
                to.add(std::move(*speed));
              } else if (!says_that_it_cannot_serve(speed.error())) {
                to.add("speed", each.name(), fail(speed.error()));
              }
            }
          }};
}

// The test of the CUDA driver itself, as the test suite runs it.
void run_driver_tests(const Card&, Report& report) {
  testing::GTEST_FLAG(filter) = "RealGpuTest.Cuda*";
  const int code = RUN_ALL_TESTS();
  const auto& unit = *testing::UnitTest::GetInstance();
  const bool skipped = unit.skipped_test_count() > 0;
  report.add(
      "drivers", fmt::format("{} tests of the driver", unit.test_to_run_count()),
      code != 0 ? Outcome::failed
      : skipped ? Outcome::not_run
                : Outcome::passed,
      skipped ? fmt::format("{} skipped, above it says why", unit.skipped_test_count()) : "");
}

}  // namespace

std::vector<Job> correctness_jobs(const Arch& arch) {
  std::vector<Job> jobs;
  for (const Case& each : cases()) {
    jobs.push_back({"correctness", each.name(), {}, [&each](const Card& card, Report& to) {
                      to.add("correctness", each.name(), run_plainly(card, each));
                      to.add("graphs", each.name(), run_as_graph(card, each));
                    }});
  }
  for (const Case& each : cases()) {
    for (const auto& name : implementations_of(each, arch)) jobs.push_back(alone(each, name));
  }
  const std::string changed = "a replay sees changed inputs";
  jobs.push_back({"graphs", changed, {}, [changed](const Card& card, Report& to) {
                    to.add("graphs", changed, replay_sees_changed_inputs(card));
                  }});
  const std::string streams = fmt::format("{} ops at once", kStreams);
  jobs.push_back({"streams", streams, {}, [streams](const Card& card, Report& to) {
                    to.add("streams", streams, run_on_several_streams(card));
                  }});
  jobs.push_back({"drivers", "tests of the driver", {}, run_driver_tests});
  return jobs;
}

Job limits_job() {
  return {"speed", "the card's limits", {}, [](const Card& card, Report& to) {
            const auto copy = copy_gb_per_s(card);
            const auto matrix =
                copy ? matrix_tflop_per_s(card) : Result<double>(fail(copy.error()));
            if (!matrix) return to.add("speed", "the card's limits", fail(matrix.error()));
            to.copy_gb_per_s = *copy;
            to.matrix_tflop_per_s = *matrix;
          }};
}

std::vector<Job> speed_jobs(const Arch& arch, const Report& limits) {
  std::set<std::pair<std::string, std::string>> ops;
  for (const Case& each : cases()) {
    for (const auto& name : implementations_of(each, arch)) ops.emplace(each.op, name);
  }
  std::vector<Job> jobs;
  for (const auto& [op, implementation] : ops) {
    jobs.push_back(speed_job(op, implementation, limits));
  }
  return jobs;
}

}  // namespace kiln::gpu_check
