// SPDX-License-Identifier: Apache-2.0
// The checks, as jobs for run_jobs().
#pragma once

#include "tests/gpu_check/jobs.h"

namespace kiln::gpu_check {

// Every case against the fp64 reference, launched plainly, then captured and replayed; then by
// every implementation that can be built for `arch` and serves it. Several streams at once; a
// replayed graph that must see what its input has become; the tests of the drivers.
std::vector<Job> correctness_jobs(const Arch& arch);
// The card's limits, into Report::copy_gb_per_s and matrix_tflop_per_s.
Job limits_job();
// Each case by each implementation against these limits, which must live as long as the jobs.
std::vector<Job> speed_jobs(const Arch& arch, const Report& limits);

}  // namespace kiln::gpu_check
