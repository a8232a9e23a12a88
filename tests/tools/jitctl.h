// SPDX-License-Identifier: Apache-2.0
// Runs the real jitctl with a cache of its own.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace kiln::test {

class Jitctl {
 public:
  // A fresh cache folder and an empty HOME.
  Jitctl();

  ProcessResult run(std::vector<std::string> words) const;
  // The same as the last words of another program's call, such as a debugger's.
  ProcessResult run_under(std::vector<std::string> program,
                          const std::vector<std::string>& words) const;
  // The same with --json; the object that it printed is in `*object` (null when it is not JSON).
  ProcessResult run_json(std::vector<std::string> words, nlohmann::json* object) const;

  void set(const std::string& variable, const std::string& value) { changes_[variable] = value; }
  const Environment& environment() const { return changes_; }
  std::filesystem::path cache_folder() const { return home_.path() / "cache"; }
  std::filesystem::path database() const { return cache_folder() / "kernels-v2.db"; }
  const TempFolder& home() const { return home_; }

 private:
  TempFolder home_;
  Environment changes_;
};

std::string model_config();  // Kimi-Linear-48B's config.json

}  // namespace kiln::test
