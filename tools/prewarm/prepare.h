// SPDX-License-Identifier: Apache-2.0
// The doing of prewarm: every kernel of the work, several at a time, with its progress.
#pragma once

#include <optional>
#include <stop_token>
#include <vector>

#include "tools/job_limit.h"
#include "tools/prewarm/progress.h"
#include "tools/prewarm/work.h"

namespace kiln::cli {

struct Outcome {
  enum class Kind {
    present,
    compiled,
    missing,
    skipped,
    failed,
    stopped,  // by Ctrl-C, before or while it was compiled
  };
  Kind kind = Kind::stopped;
  Error error;
  double compile_time_ms = 0;
  std::optional<Explanation> why_missing;
  std::uint64_t memory_bytes = 0;  // of the worker that compiled; 0: none did
};
const char* word_of(Outcome::Kind kind);

// One outcome for each item of the work. A failure of one does not keep the others from being done;
// once `stop` is requested, what has not begun stays undone.
std::vector<Outcome> prepare_all(Runtime& runtime, const PrewarmWords& words, const Work& work,
                                 JobLimit& limit, PrewarmProgress& progress,
                                 const std::stop_token& stop);

}  // namespace kiln::cli
