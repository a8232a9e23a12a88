// SPDX-License-Identifier: Apache-2.0
// jitctl plan: what runs asked for, recorded with KILN_RECORD_PLAN.
#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <set>

#include "tools/command.h"
#include "tools/plan_files.h"

namespace kiln::cli {
namespace {

struct PlanWords {
  std::vector<std::string> files;
  std::string output;
};

Json to_json(const std::vector<PlanRequest>& requests) {
  Json array = Json::array();
  for (const PlanRequest& one : requests) {
    array.push_back({{"op", one.op->name},
                     {"arch", one.arch.name()},
                     {"shape", kiln::cli::to_json(one.shape)}});
  }
  return array;
}

// Grouped by op and arch; the shapes in full, folded to the width of a page.
void print(const std::vector<PlanRequest>& requests) {
  constexpr std::size_t kColumns = 100;
  std::map<std::pair<std::string, std::string>, std::vector<const PlanRequest*>> groups;
  for (const PlanRequest& one : requests) groups[{one.op->name, one.arch.name()}].push_back(&one);
  for (const auto& [group, members] : groups) {
    fmt::print("{} on {}\n", group.first, group.second);
    for (const PlanRequest* one : members) {
      std::string line = "  -";
      for (const Shape::Param& param : one->shape.params()) {
        const std::string word = fmt::format(" {}={}", param.name, to_text(param.value));
        if (line.size() + word.size() > kColumns) {
          fmt::print("{}\n", line);
          line = "   ";
        }
        line += word;
      }
      fmt::print("{}\n", line);
    }
  }
  std::set<std::string> ops;
  std::set<std::string> archs;
  for (const PlanRequest& one : requests) {
    ops.insert(one.op->name);
    archs.insert(one.arch.name());
  }
  fmt::print("{} requests of {} ops on {} archs\n", requests.size(), ops.size(), archs.size());
}

ExitCode show_plan(Session& session, const PlanWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::vector<PlanRequest> requests, session, read_plans(words.files));
  if (!session.json) print(requests);
  return session.finish({{"version", kPlanVersion}, {"requests", to_json(requests)}});
}

Result<void> write_text(const std::string& file, const std::string& text) {
  std::FILE* const stream = std::fopen(file.c_str(), "w");
  bool written = stream && std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  if (stream) written = std::fclose(stream) == 0 && written;
  if (written) return {};
  return fail(ErrorCode::cache_failed,
              fmt::format("cannot write '{}': {}", file, std::strerror(errno)));
}

ExitCode merge_plans(Session& session, const PlanWords& words) {
  KILN_CLI_TRY_ASSIGN(const std::vector<PlanRequest> requests, session, read_plans(words.files));
  const auto written = write_text(words.output, plan_text(requests));
  if (!written) return session.fail(written.error());
  if (!session.json) fmt::print("{} requests in {}\n", requests.size(), words.output);
  return session.finish({{"file", words.output}, {"requests", requests.size()}});
}

}  // namespace

Action add_plan(CLI::App& app, Session& session) {
  auto words = std::make_shared<PlanWords>();
  app.require_subcommand(1);
  CLI::App* const show = app.add_subcommand("show", "The requests of a plan, by op and arch");
  show->add_option("FILE", words->files, "What KILN_RECORD_PLAN=FILE recorded")->required();
  CLI::App* const merge = app.add_subcommand("merge", "Several plans into one, each request once");
  merge->add_option("FILE", words->files, "The plans")->required();
  merge->add_option("-o", words->output, "The plan to write; it may be one of them")->required();
  for (CLI::App* const action : {show, merge}) action->fallthrough();  // --json
  return [=, &session] {
    return show->parsed() ? show_plan(session, *words) : merge_plans(session, *words);
  };
}

}  // namespace kiln::cli
