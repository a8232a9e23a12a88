// SPDX-License-Identifier: Apache-2.0
#include "tools/prewarm/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tools/explanation.h"
#include "tools/page.h"

namespace kiln::cli {

ExitCode exit_code_of(const Work& work, const std::vector<Outcome>& outcomes) {
  const auto any = [&](Outcome::Kind kind) {
    return std::any_of(outcomes.begin(), outcomes.end(),
                       [&](const Outcome& outcome) { return outcome.kind == kind; });
  };
  if (any(Outcome::Kind::failed) || any(Outcome::Kind::stopped)) return ExitCode::failed;
  if (any(Outcome::Kind::missing)) return ExitCode::cache_miss;
  if (!work.not_built.empty()) return ExitCode::unavailable;
  return ExitCode::done;
}

void print_notes(const Work& work) {
  for (const auto& [arch, why] : work.unavailable_archs) {
    fmt::print("{}\n", folded(fmt::format("skipped {}: {}", arch, why), 0));
  }
  for (const NotBuilt& one : work.not_built) {
    fmt::print("{}\n", folded(fmt::format("not built: {}: {}", one.request, one.why), 0));
  }
  for (const auto& [op, use] : work.without_op) {
    fmt::print("{}\n", folded(fmt::format("no op yet: {} ({})", op, use), 0));
  }
}

void print_summary(const Work& work, const std::vector<Outcome>& outcomes, const Counters& counts,
                   const JobLimit::Seen& jobs) {
  std::map<std::string, int> totals;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    ++totals[word_of(outcome.kind)];
    if (outcome.error.message.empty()) continue;
    const std::string word = word_of(outcome.kind);
    const std::string text = work.items[i].label + ": " + outcome.error.message;
    fmt::print("{}: {}\n", painted(Colour::red, word, stdout), folded(text, word.size() + 2));
    if (!outcome.error.log.empty()) fmt::print("{}\n", outcome.error.log);
  }
  print_notes(work);
  fmt::print("{} kernels:", outcomes.size());
  for (const auto& [word, count] : totals) fmt::print(" {} {},", count, word);
  fmt::print(" {} compiles by this process, up to {} at a time", counts.compiles,
             jobs.most_at_once);
  if (jobs.memory_bytes_max) fmt::print(", {} MiB each", jobs.memory_bytes_max >> 20);
  fmt::print("\n");
}

Json to_json(const Work& work, const std::vector<Outcome>& outcomes) {
  const auto pairs = [](const auto& list, const char* first, const char* second) {
    Json array = Json::array();
    for (const auto& [a, b] : list) array.push_back({{first, a}, {second, b}});
    return array;
  };
  Json result;
  result["kernels"] = Json::array();
  for (std::size_t i = 0; i < work.items.size(); ++i) {
    Json kernel = {{"label", work.items[i].label}, {"arch", work.items[i].input.arch.name()}};
    if (i < outcomes.size()) {
      kernel["outcome"] = word_of(outcomes[i].kind);
      if (!outcomes[i].error.message.empty()) kernel["error"] = outcomes[i].error.message;
      if (const auto& why = outcomes[i].why_missing) {
        kernel["key"] = why->request.hex();
        kernel["nearest"] = nearest_to_json(*why);
      }
    }
    result["kernels"].push_back(std::move(kernel));
  }
  result["unavailable_archs"] = pairs(work.unavailable_archs, "arch", "reason");
  result["not_built"] = Json::array();
  for (const NotBuilt& one : work.not_built) {
    result["not_built"].push_back({{"request", one.request}, {"reason", one.why}});
  }
  result["no_op_yet"] = pairs(work.without_op, "op", "needed_for");
  return result;
}

}  // namespace kiln::cli
