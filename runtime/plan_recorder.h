// SPDX-License-Identifier: Apache-2.0
// PlanRecorder: appends to a plan what this process asks for. See kiln/plan.h for the format.
#pragma once

#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "jit/base/arch.h"
#include "jit/base/result.h"
#include "templates/registry.h"

namespace kiln {

// Thread-safe; safe beside other processes that record into the same file. Called where a kernel is
// about to be looked up for the first time, never for one that is loaded.
class PlanRecorder {
 public:
  explicit PlanRecorder(std::optional<std::filesystem::path> file) : file_(std::move(file)) {}

  // Adds the request unless the file has it. A file that cannot be written is logged once, and
  // costs no call anything more than its line.
  void record(const Op& op, const Shape& shape, const Arch& arch);

 private:
  Result<void> append(const std::string& line);

  const std::optional<std::filesystem::path> file_;
  std::mutex mutex_;
  std::set<std::string> recorded_;
  bool broken_ = false;
};

}  // namespace kiln
