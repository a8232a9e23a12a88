// SPDX-License-Identifier: Apache-2.0
// gpu_check: Kiln on a machine that has a GPU and its driver, and maybe nothing else.
//
//   kiln_gpu_check [FOLDER]         runs everything; writes gpu_check.txt and gpu_check.json to
//                                   FOLDER, by default the program's own
//   kiln_gpu_check --prewarm ARCH... fills the cache beside the program for these archs
//
// Exit codes: 0 everything ran and passed, 1 something failed, 2 usage, 3 nothing failed, but not
// all could run (the report says what and why; without a driver that is all of it).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/gpu_check/cases.h"
#include "tests/gpu_check/checks.h"

namespace kiln::gpu_check {
namespace {

namespace fs = std::filesystem;

int complain(const Error& error) {
  fmt::print(stderr, "gpu_check: {}\n{}", error.message, error.log);
  return error.code == ErrorCode::unavailable ? 3 : 1;
}

Result<std::unique_ptr<Runtime>> make_runtime(const fs::path& home) {
  KILN_TRY_ASSIGN(Options options, Options::from_environment());
  options.cache_folder = home / "cache";
  return Runtime::create(std::move(options));
}

int prewarm_all(const fs::path& home, int count, char** names) {
  auto runtime = make_runtime(home);
  if (!runtime) return complain(runtime.error());
  for (int i = 0; i < count; ++i) {
    const auto arch = Arch::parse(names[i]);
    if (!arch) return complain(arch.error());
    const auto kernels = prewarm(**runtime, *arch);
    if (!kernels) return complain(kernels.error());
    fmt::print("{}: {} kernels are in {}\n", arch->name(), *kernels, (home / "cache").string());
  }
  return 0;
}

// The tests of the drivers themselves, as the test suite runs them.
void run_driver_tests(Report& report) {
  testing::GTEST_FLAG(filter) = "RealGpuTest.*";
  const int code = RUN_ALL_TESTS();
  const auto& unit = *testing::UnitTest::GetInstance();
  const bool skipped = unit.skipped_test_count() > 0;
  report.add(
      "drivers", fmt::format("{} tests of the drivers", unit.test_to_run_count()),
      code != 0 ? Outcome::failed
      : skipped ? Outcome::not_run
                : Outcome::passed,
      skipped ? fmt::format("{} skipped, above it says why", unit.skipped_test_count()) : "");
}

void run_all(Runtime& runtime, Report& report) {
  const auto stop = [&](const Error& error) {
    report.machine = "no NVIDIA GPU: " + error.message;
    say_not_run(error.message, report);
  };
  const auto driver = runtime.driver(*Arch::parse("sm_90"));
  if (!driver) return stop(driver.error());
  const auto devices = (*driver)->devices();
  if (!devices) return stop(devices.error());
  const DeviceInfo& device = devices->front();
  const auto cuda = CudaCalls::open(runtime.options().drivers.cuda_library);
  if (!cuda) return stop(cuda.error());
  report.machine = fmt::format("{} ({})", device.name, device.arch.name());
  const Card card{runtime, *cuda, device.arch};
  check_ops(card, report);
  check_streams_and_graphs(card, report);
  measure_speed(card, report);
}

int run(int argc, char** argv) {
  const fs::path home = fs::read_symlink("/proc/self/exe").parent_path();
  if (argc > 2 && std::string_view(argv[1]) == "--prewarm") {
    return prewarm_all(home, argc - 2, argv + 2);
  }
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    fmt::print(stderr, "usage: kiln_gpu_check [FOLDER] | kiln_gpu_check --prewarm ARCH...\n");
    return 2;
  }
  auto runtime = make_runtime(home);
  if (!runtime) return complain(runtime.error());
  Report report;
  run_all(**runtime, report);
  run_driver_tests(report);
  fmt::print("{}", report.text());
  const auto written = report.write(argc == 2 ? fs::path(argv[1]) : home);
  if (!written) return complain(written.error());
  return report.exit_code();
}

}  // namespace
}  // namespace kiln::gpu_check

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return kiln::gpu_check::run(argc, argv);
}
