// SPDX-License-Identifier: Apache-2.0
// The checks, each of which adds to a Report.
#pragma once

#include "kiln/runtime.h"
#include "tests/gpu_check/cuda_calls.h"
#include "tests/gpu_check/report.h"

namespace kiln::gpu_check {

struct Card {
  Runtime& runtime;
  const CudaCalls& cuda;
  const Arch arch;
};

// Every case against the fp64 reference: launched plainly, then captured and replayed.
void check_ops(const Card& card, Report& report);
// Several streams at once; a replayed graph that must see what its input has become.
void check_streams_and_graphs(const Card& card, Report& report);
// The card's limits, then each case against them.
void measure_speed(const Card& card, Report& report);
// The same lines where there is no card.
void say_not_run(const std::string& why, Report& report);

}  // namespace kiln::gpu_check
