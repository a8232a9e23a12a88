// SPDX-License-Identifier: Apache-2.0
#include "bench/interleaved.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace kiln::bench {

std::vector<Row> measure_interleaved(const std::vector<Contestant>& contestants, int rounds) {
  std::vector<std::vector<double>> times(contestants.size());
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const double time = contestants[i].measure();
      if (std::isnan(time)) {
        fmt::print(stderr, "bench: '{}' failed\n", contestants[i].name);
        std::exit(1);
      }
      if (round >= 0) times[i].push_back(time);
    }
  }
  std::vector<Row> rows;
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    const double median = times[i][times[i].size() / 2];
    const double first = rows.empty() ? median : rows.front().median;
    rows.push_back(
        {contestants[i].name, median, times[i].front(), times[i].back(), median / first});
  }
  return rows;
}

void print(const Table& table, const std::vector<Row>& rows, Format format) {
  if (format == Format::json) {
    for (const Row& row : rows) {
      fmt::print(
          R"({{"bench": "{}", "name": "{}", "unit": "{}", "median": {:.4g}, "least": {:.4g}, )"
          R"("most": {:.4g}, "ratio": {:.4g}}})"
          "\n",
          table.title, row.name, table.unit, row.median, row.least, row.most, row.ratio);
    }
    return;
  }
  fmt::print("{}\n  limit: {}\n  {:<44} {:>10} {:>10} {:>10} {:>7}\n", table.title, table.limit,
             table.unit + ", medians of repeats", "median", "least", "most", "ratio");
  for (const Row& row : rows) {
    fmt::print("  {:<44} {:>10.3f} {:>10.3f} {:>10.3f} {:>7.2f}\n", row.name, row.median, row.least,
               row.most, row.ratio);
  }
}

Format format_of(int argc, char** argv) {
  return argc > 1 && std::strcmp(argv[1], "--json") == 0 ? Format::json : Format::text;
}

}  // namespace kiln::bench
