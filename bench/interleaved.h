// SPDX-License-Identifier: Apache-2.0
// Contestants measured in turn, round after round, so that a slow minute of the machine hits all.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace kiln::bench {

struct Contestant {
  std::string name;
  std::function<double()> measure;  // one repeat, in the table's unit; a NaN ends the program
};

struct Row {
  std::string name;
  double median = 0;
  double least = 0;
  double most = 0;
  double ratio = 0;  // of the medians, to the first contestant
};

// One unmeasured round, then `rounds` measured ones.
std::vector<Row> measure_interleaved(const std::vector<Contestant>& contestants, int rounds);

// Prints the rows as a table, or as one JSON object per row with `json`.
struct Table {
  std::string title;
  std::string unit;   // "ms"
  std::string limit;  // what bounds the first row, for people
};
enum class Format { text, json };
void print(const Table& table, const std::vector<Row>& rows, Format format);

Format format_of(int argc, char** argv);

}  // namespace kiln::bench
