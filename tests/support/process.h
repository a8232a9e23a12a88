// SPDX-License-Identifier: Apache-2.0
// Runs a program to its end and keeps what it printed.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace kiln::test {

struct ProcessResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

// Variables to set; an empty value unsets the variable. The rest of the environment is inherited.
using Environment = std::map<std::string, std::string>;

ProcessResult run_process(const std::vector<std::string>& words, const Environment& changes = {});

}  // namespace kiln::test
