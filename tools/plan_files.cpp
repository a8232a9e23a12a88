// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_files.h"

#include <algorithm>
#include <set>

namespace kiln::cli {

Result<std::vector<PlanRequest>> read_plans(const std::vector<std::string>& files) {
  std::vector<PlanRequest> all;
  std::set<std::string> seen;
  for (const std::string& file : files) {
    KILN_TRY_ASSIGN(std::vector<PlanRequest> plan, read_plan(file));
    for (PlanRequest& one : plan) {
      if (seen.insert(plan_line(*one.op, one.shape, one.arch)).second) {
        all.push_back(std::move(one));
      }
    }
  }
  return all;
}

Result<std::vector<PlanRequest>> read_plans(std::string_view list) {
  std::vector<std::string> files;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    if (end > 0) files.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  if (files.empty()) return fail(ErrorCode::invalid_argument, "--plan: an empty list of files");
  return read_plans(files);
}

}  // namespace kiln::cli
