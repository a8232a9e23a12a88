// SPDX-License-Identifier: Apache-2.0
// What prewarm says in the end.
#pragma once

#include "tools/prewarm/prepare.h"

namespace kiln::cli {

ExitCode exit_code_of(const Work& work, const std::vector<Outcome>& outcomes);
// What was asked for and is none of the kernels: archs, shapes and ops.
void print_notes(const Work& work);
void print_summary(const Work& work, const std::vector<Outcome>& outcomes, const Counters& counts,
                   const JobLimit::Seen& jobs);
// `outcomes` may be empty: nothing was done.
Json to_json(const Work& work, const std::vector<Outcome>& outcomes);

}  // namespace kiln::cli
