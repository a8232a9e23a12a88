// SPDX-License-Identifier: Apache-2.0
// jitctl stats: totals that the disk cache keeps across processes.
#include <fmt/format.h>

#include <map>

#include "cache/store.h"
#include "tools/command.h"

namespace kiln::cli {
namespace {

// What the tallies of one op, arch, compiler or tier add up to.
struct Sum {
  std::uint64_t hits = 0;
  std::uint64_t compiles = 0;
  std::uint64_t spent_us = 0;
  std::uint64_t saved_us = 0;

  void add(const StoreTally& tally) {
    const bool compiled = tally.tier == name_of(Tier::compiled);
    (compiled ? compiles : hits) += tally.uses;
    (compiled ? spent_us : saved_us) += tally.compile_us;
  }
};

struct Dimension {
  const char* name;
  std::string StoreTally::*value;
};
constexpr Dimension kDimensions[] = {{"tier", &StoreTally::tier},
                                     {"op", &StoreTally::op},
                                     {"arch", &StoreTally::arch},
                                     {"compiler", &StoreTally::compiler}};

double seconds(std::uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1e6;
}

Json to_json(const Sum& sum) {
  return {{"hits", sum.hits},
          {"compiles", sum.compiles},
          {"compile_s_spent", seconds(sum.spent_us)},
          {"compile_s_saved", seconds(sum.saved_us)}};
}

void print_row(std::string_view name, const Sum& sum) {
  fmt::print("  {:<28} {:>10} {:>10} {:>11.1f} s {:>11.1f} s\n", name, sum.hits, sum.compiles,
             seconds(sum.spent_us), seconds(sum.saved_us));
}

// Hits in memory are counted per process, so they have a tier and nothing else.
Json sums_by(const Dimension& dimension, const std::vector<StoreTally>& tallies, bool print) {
  std::map<std::string, Sum> sums;
  for (const StoreTally& tally : tallies) {
    if (!(tally.*dimension.value).empty()) sums[tally.*dimension.value].add(tally);
  }
  Json rows = Json::array();
  if (print && !sums.empty()) {
    fmt::print("by {:<27} {:>10} {:>10} {:>13} {:>13}\n", dimension.name, "hits", "compiles",
               "compiling", "saved");
  }
  for (const auto& [name, sum] : sums) {
    if (print) print_row(name, sum);
    Json row = {{dimension.name, name}};
    row.update(to_json(sum));
    rows.push_back(std::move(row));
  }
  return rows;
}

ExitCode show_stats(Session& session) {
  KILN_CLI_TRY_ASSIGN(Runtime* const runtime, session, session.runtime());
  KILN_CLI_TRY_ASSIGN(Store* const store, session, session.store());
  KILN_CLI_TRY_ASSIGN(const StoreTotals totals, session, store->totals());
  KILN_CLI_TRY_ASSIGN(const std::vector<StoreTally> tallies, session, store->tallies());
  const bool print = !session.json;
  if (print) {
    fmt::print("file       {}\n", store->file().string());
    fmt::print("entries    {}\nbytes      {} of {}\n", totals.entries, totals.size_bytes,
               runtime->options().cache_size_bytes_max);
    fmt::print("hits       {}\nputs       {}\nrejected   {}\nevicted    {}\n", totals.hits,
               totals.puts, totals.rejected, totals.evicted);
  }
  Json result = {{"file", store->file().string()},
                 {"entries", totals.entries},
                 {"payload_bytes", totals.payload_bytes},
                 {"size_bytes", totals.size_bytes},
                 {"size_bytes_max", runtime->options().cache_size_bytes_max},
                 {"hits", totals.hits},
                 {"puts", totals.puts},
                 {"rejected", totals.rejected},
                 {"evicted", totals.evicted}};
  for (const Dimension& dimension : kDimensions) {
    result[fmt::format("by_{}", dimension.name)] = sums_by(dimension, tallies, print);
  }
  return session.finish(std::move(result));
}

}  // namespace

Action add_stats(CLI::App&, Session& session) {
  return [&session] { return show_stats(session); };
}

}  // namespace kiln::cli
