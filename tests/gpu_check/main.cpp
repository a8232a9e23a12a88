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

#include <algorithm>
#include <filesystem>
#include <thread>

#include "tests/gpu_check/cases.h"
#include "tests/gpu_check/checks.h"

namespace kiln::gpu_check {
namespace {

namespace fs = std::filesystem;

int complain(const Error& error) {
  fmt::print(stderr, "gpu_check: {}\n{}", error.message, error.log);
  return error.code == ErrorCode::unavailable ? 3 : 1;
}

Result<Options> make_options(const fs::path& home) {
  KILN_TRY_ASSIGN(Options options, Options::from_environment());
  options.cache_folder = home / "cache";
  return options;
}

int prewarm_all(const fs::path& home, int count, char** names) {
  auto options = make_options(home);
  if (!options) return complain(options.error());
  const auto runtime = Runtime::create(std::move(*options));
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

// On the first card; on a machine without one, each line says why nothing ran.
void run_all(const Options& options, Report& report) {
  run_jobs(options, {limits_job()}, 1, report);
  const Result<Arch> arch = Arch::parse(report.arch.empty() ? "sm_90a" : report.arch);
  if (!arch) return report.add("correctness", report.arch, fail(arch.error()));
  // Several at once: most of their time is the reference's, on the CPU.
  run_jobs(options, correctness_jobs(*arch), std::max(1U, std::thread::hardware_concurrency() / 2),
           report);
  if (report.copy_gb_per_s > 0) run_jobs(options, speed_jobs(*arch, report), 1, report);
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
  const auto options = make_options(home);
  if (!options) return complain(options.error());
  Report report;
  run_all(*options, report);
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
