// SPDX-License-Identifier: Apache-2.0
#include "tools/prewarm/work.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "kiln/plan.h"
#include "tools/plan_files.h"

namespace kiln::cli {
namespace {

struct OpShape {
  const Op* op;
  Shape shape;
};

Result<std::vector<OpShape>> shapes_of_model(const PrewarmWords& words, Work& work) {
  std::vector<OpShape> wanted;
  KILN_TRY_ASSIGN(const ModelNeeds needs, read_model_config(words.config, words.settings));
  for (const ModelNeed& need : needs.ops) {
    const auto op = find_op(need.op);
    if (!op) {
      work.without_op.emplace_back(need.op, need.used_for);
      continue;
    }
    KILN_TRY_ASSIGN(OpArguments arguments, parse_arguments(**op, need.shape));
    wanted.push_back({*op, std::move(arguments.shape)});
  }
  return wanted;
}

Result<std::vector<PlanRequest>> requests_of_plans(const PrewarmWords& words) {
  KILN_TRY_ASSIGN(std::vector<PlanRequest> planned, read_plans(words.plans));
  if (!words.archs) return planned;
  KILN_TRY_ASSIGN(const std::vector<Arch> archs, parse_archs(*words.archs));
  std::vector<PlanRequest> wanted;
  for (const Arch& arch : archs) {
    for (const PlanRequest& one : planned) wanted.push_back({one.op, one.shape, arch});
  }
  return wanted;
}

Result<std::vector<PlanRequest>> wanted_requests(const PrewarmWords& words, Work& work) {
  if (!words.plans.empty()) return requests_of_plans(words);
  KILN_TRY_ASSIGN(const std::vector<Arch> archs, parse_archs(words.archs.value_or("cpu")));
  std::vector<OpShape> shapes;
  if (words.config.empty()) {
    KILN_TRY_ASSIGN(const Op* const op, find_op(words.op));
    KILN_TRY_ASSIGN(OpArguments arguments, parse_params(*op, words.params, CallParams::refused));
    shapes.push_back({op, std::move(arguments.shape)});
  } else {
    KILN_TRY_ASSIGN(shapes, shapes_of_model(words, work));
  }
  std::vector<PlanRequest> wanted;
  for (const Arch& arch : archs) {
    for (const OpShape& one : shapes) wanted.push_back({one.op, one.shape, arch});
  }
  return wanted;
}

Result<void> add_items(Work& work, const PlanRequest& wanted, std::set<std::string>& labels) {
  const auto& [op, shape, arch] = wanted;
  std::string reasons;
  bool any = false;
  for (const Implementation& implementation : op->implementations) {
    if (const Answer can = can_build(implementation, shape, arch); !can) {
      reasons +=
          fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", implementation.name, can.reason());
      continue;
    }
    any = true;
    KILN_TRY_ASSIGN(CompileInput input, make_input(*op, implementation, shape, arch));
    std::string label = input.label();
    if (!labels.insert(label).second) continue;
    work.items.push_back({std::move(input), std::move(label)});
  }
  if (!any) {
    work.not_built.push_back(
        {fmt::format("{} {} {}", op->name, shape.text(), arch.name()), arch, reasons});
  }
  return {};
}

// Those that probably take longest come first, so that no job is left alone with one of them in the
// end: by their entry points, then by the text that they are made of.
void sort_longest_first(std::vector<Item>& items) {
  const auto effort = [](const Item& item) {
    return std::pair(item.input.name_expressions.size(), item.input.source.text.size());
  };
  std::stable_sort(items.begin(), items.end(),
                   [&](const Item& a, const Item& b) { return effort(a) > effort(b); });
}

// Dealt like cards, longest first, so that the parts take about as long.
void keep_shard(std::vector<Item>& items, Shard shard) {
  std::vector<Item> kept;
  for (std::size_t i = shard.index - 1; i < items.size(); i += shard.count) {
    kept.push_back(std::move(items[i]));
  }
  items = std::move(kept);
}

Result<void> drop_unavailable(Work& work, const Compilers& compilers, bool may_skip) {
  std::map<std::string, std::optional<std::string>> reasons;
  std::vector<Arch> archs;
  for (const Item& item : work.items) archs.push_back(item.input.arch);
  for (const NotBuilt& one : work.not_built) archs.push_back(one.arch);
  for (const Arch& arch : archs) {
    if (reasons.contains(arch.name())) continue;
    const auto why = why_unavailable(compilers, arch);
    reasons.emplace(arch.name(), why);
    if (!why || may_skip) continue;
    return fail(
        ErrorCode::unavailable,
        fmt::format("arch {}: {} (--skip-unavailable goes on without it)", arch.name(), *why));
  }
  for (const auto& [arch, why] : reasons) {
    if (why) work.unavailable_archs.emplace_back(arch, *why);
  }
  const auto is_out = [&](const Arch& arch) { return reasons.at(arch.name()).has_value(); };
  std::erase_if(work.items, [&](const Item& item) { return is_out(item.input.arch); });
  std::erase_if(work.not_built, [&](const NotBuilt& one) { return is_out(one.arch); });
  return {};
}

}  // namespace

Result<Shard> parse_shard(const std::string& text) {
  Shard shard;
  const char* end = text.data() + text.size();
  const auto [slash, error] = std::from_chars(text.data(), end, shard.index);
  if (error == std::errc{} && slash != end && *slash == '/') {
    const auto [rest, other_error] = std::from_chars(slash + 1, end, shard.count);
    if (other_error == std::errc{} && rest == end && shard.index >= 1 &&
        shard.index <= shard.count) {
      return shard;
    }
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("--shard '{}': written i/n, from 1/n to n/n: 2/8 is the second of eight "
                          "parts",
                          text));
}

std::optional<std::string> why_unavailable(const Compilers& compilers, const Arch& arch) {
  std::string reasons;
  for (Compiler* compiler : compilers.chain(arch)) {
    const Answer can = compiler->can_compile(arch);
    if (can) return std::nullopt;
    reasons += (reasons.empty() ? "" : "; ") + can.reason();
  }
  if (!reasons.empty()) return reasons;
  return fmt::format("this build has no compiler for {} code", name_of(arch.family()));
}

Result<Work> collect_work(const PrewarmWords& words, const Compilers& compilers) {
  Work work;
  Shard shard;
  if (words.shard) {
    KILN_TRY_ASSIGN(shard, parse_shard(*words.shard));
  }
  KILN_TRY_ASSIGN(const std::vector<PlanRequest> wanted, wanted_requests(words, work));
  std::set<std::string> labels;
  for (const PlanRequest& one : wanted) KILN_TRY(add_items(work, one, labels));
  sort_longest_first(work.items);
  keep_shard(work.items, shard);
  // A check asks the cache, which may hold what this machine could not compile.
  if (!words.check) KILN_TRY(drop_unavailable(work, compilers, words.skip_unavailable));
  return work;
}

}  // namespace kiln::cli
