// SPDX-License-Identifier: Apache-2.0
#include "tools/prewarm/prepare.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "jit/worker/process_memory.h"

namespace kiln::cli {
namespace {

void note_failure(Runtime& runtime, const PrewarmWords& words, const Item& item, Outcome& outcome) {
  switch (outcome.error.code) {
    case ErrorCode::cancelled:
      outcome.kind = Outcome::Kind::stopped;
      outcome.error = {};
      return;
    case ErrorCode::cache_miss:
      outcome.kind = Outcome::Kind::missing;
      break;
    default:
      outcome.kind = Outcome::Kind::failed;
      return;
  }
  if (words.skip_unavailable) {
    if (const auto why = why_unavailable(runtime.compilers(), item.input.arch)) {
      outcome.kind = Outcome::Kind::skipped;
      outcome.error.message = *why;
      return;
    }
  }
  if (auto why = runtime.explain(item.input)) outcome.why_missing = std::move(*why);
}

Outcome prepare_one(Runtime& runtime, const PrewarmWords& words, const Item& item,
                    const std::stop_token& stop) {
  Outcome outcome;
  auto prepared = runtime.prepare(item.input, stop);
  if (!prepared) {
    outcome.error = prepared.error();
    note_failure(runtime, words, item, outcome);
    return outcome;
  }
  outcome.kind =
      prepared->tier == Tier::compiled ? Outcome::Kind::compiled : Outcome::Kind::present;
  outcome.compile_time_ms = prepared->artifact->compile_time_ms;
  outcome.memory_bytes = prepared->artifact->memory_bytes_peak;
  if (prepared->store_error) {  // storing is what prewarm is for
    outcome.kind = Outcome::Kind::failed;
    outcome.error = *prepared->store_error;
  }
  return outcome;
}

// Threads of this process share its memory, so what one compile takes is their part of what came
// upon it.
class OwnMemory {
 public:
  OwnMemory() : before_bytes_(peak_bytes()) {}
  std::uint64_t of_one(int at_once) const {
    return (peak_bytes() - before_bytes_) / static_cast<std::uint64_t>(std::max(1, at_once));
  }

 private:
  static std::uint64_t peak_bytes() {
    const auto memory = memory_of(getpid());
    return memory ? memory->peak_bytes : 0;
  }
  const std::uint64_t before_bytes_;
};

std::string time_text(const Outcome& outcome) {
  if (outcome.kind != Outcome::Kind::compiled) return {};
  return fmt::format(" in {:.0f} ms", outcome.compile_time_ms);
}

}  // namespace

const char* word_of(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::Kind::present:
      return "present";
    case Outcome::Kind::compiled:
      return "compiled";
    case Outcome::Kind::missing:
      return "missing";
    case Outcome::Kind::skipped:
      return "skipped";
    case Outcome::Kind::failed:
      return "failed";
    case Outcome::Kind::stopped:
      return "stopped";
  }
  return "";
}

std::vector<Outcome> prepare_all(Runtime& runtime, const PrewarmWords& words, const Work& work,
                                 JobLimit& limit, PrewarmProgress& progress,
                                 const std::stop_token& stop) {
  const OwnMemory own_memory;
  std::vector<Outcome> outcomes(work.items.size());
  std::atomic<std::size_t> next{0};
  const auto serve = [&] {
    for (std::size_t i = next++; i < work.items.size() && !stop.stop_requested(); i = next++) {
      const Item& item = work.items[i];
      Outcome& outcome = outcomes[i];
      limit.enter();
      if (!stop.stop_requested()) {
        progress.begin(item.label);
        outcome = prepare_one(runtime, words, item, stop);
        progress.end(item.label, word_of(outcome.kind) + time_text(outcome));
      }
      const bool here = outcome.kind == Outcome::Kind::compiled && outcome.memory_bytes == 0;
      limit.leave(here ? own_memory.of_one(limit.seen().most_at_once) : outcome.memory_bytes);
    }
  };
  std::vector<std::thread> threads;
  const std::size_t count =
      std::min<std::size_t>(static_cast<std::size_t>(limit.jobs_max()), work.items.size());
  for (std::size_t i = 1; i < count; ++i) threads.emplace_back(serve);
  serve();
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

}  // namespace kiln::cli
