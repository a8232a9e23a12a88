// SPDX-License-Identifier: Apache-2.0
// Checks in processes of their own: a kernel that takes its context down, hangs or ends its process
// fails its own check and no other one. The process that starts them never calls the driver.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kiln/runtime.h"
#include "tests/gpu_check/cuda_calls.h"
#include "tests/gpu_check/report.h"

namespace kiln::gpu_check {

struct Card {
  Runtime& runtime;
  const CudaCalls& cuda;
  const Arch arch;
};

struct Job {
  std::string section;
  std::string name;
  std::optional<std::string> implementation;  // which alone may serve
  std::function<void(const Card&, Report&)> run;
};

// Runs them, `at_a_time` at once, and adds what each reports, in the order of `jobs`. A job for
// which no card can be opened is one check that could not run; one that dies or takes longer than
// two minutes is one that failed.
void run_jobs(const Options& options, const std::vector<Job>& jobs, std::size_t at_a_time,
              Report& report);

}  // namespace kiln::gpu_check
