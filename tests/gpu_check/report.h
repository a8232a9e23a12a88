// SPDX-License-Identifier: Apache-2.0
// What gpu_check found, as one JSON object and as text for people.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/result.h"

namespace kiln::gpu_check {

enum class Outcome { passed, failed, not_run };

struct Check {
  std::string section;  // "correctness"
  std::string name;     // "kda_decode batch=1"
  Outcome outcome = Outcome::not_run;
  std::string detail;  // how far from the reference; why it failed or could not run
};

struct Speed {
  std::string name;
  double time_us = 0;   // median
  double rate = 0;      // in `unit`
  std::string unit;     // "GB/s"
  double of_limit = 0;  // 0.87: of what was measured on this card
  std::string implementation;
};

struct Report {
  std::string machine;  // "NVIDIA H200"; empty: there is none
  std::string arch;     // "sm_90a"
  std::vector<Check> checks;
  double copy_gb_per_s = 0;
  double matrix_tflop_per_s = 0;
  std::vector<Speed> speeds;

  void add(std::string section, std::string name, Outcome outcome, std::string detail);
  void add(std::string section, std::string name, const Result<std::string>& result);
  void add(Speed speed);  // it and the two above also say so on stderr
  // What json() of another one told; false when it is not such a text.
  bool add_json(std::string_view text);
  int count(Outcome outcome) const;
  // 0: everything ran and passed. 1: something failed. 3: nothing failed, but not all could run.
  int exit_code() const;
  std::string text() const;
  std::string json() const;
  Result<void> write(const std::filesystem::path& folder) const;
};

}  // namespace kiln::gpu_check
