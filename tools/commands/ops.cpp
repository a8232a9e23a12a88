// SPDX-License-Identifier: Apache-2.0
// jitctl ops: what Kiln can do.
#include <fmt/format.h>

#include "templates/attention_variant.h"
#include "tools/command.h"
#include "tools/page.h"

namespace kiln::cli {
namespace {

std::string accepted(const ParamSpec& param) {
  if (param.is_variant) {
    std::vector<std::string_view> words;
    for (const auto* variant : shipped_attention_variants()) words.push_back(variant->word);
    return fmt::format("{}, or --variant FILE", fmt::join(words, ", "));
  }
  if (!param.choices.empty()) return fmt::format("{}", fmt::join(param.choices, ", "));
  if (std::holds_alternative<bool>(param.default_value)) return "true, false";
  return fmt::format("{}..{}", param.min, param.max);
}

constexpr std::size_t kTextColumn = 27;

void print_params(const char* title, const std::vector<ParamSpec>& params) {
  fmt::print("\n{}\n", title);
  for (const ParamSpec& param : params) {
    const std::string text = fmt::format("{}  ({})", param.doc, accepted(param));
    std::string left = fmt::format("  {:<12} {:<11} ", param.name, to_text(param.default_value));
    if (left.size() > kTextColumn) left += fmt::format("\n{:{}}", "", kTextColumn);
    fmt::print("{}{}\n", left, folded(text, kTextColumn));
  }
}

std::string families_of(const Implementation& implementation) {
  std::vector<std::string_view> names;
  for (const ArchFamily family : implementation.families) names.push_back(name_of(family));
  return fmt::format("{}", fmt::join(names, ", "));
}

void print_op(const Op& op) {
  fmt::print("{}\n", folded(op.name + ": " + op.doc, 0));
  print_params("Shape (selects the kernel): name, default", op.shape_params);
  print_params("Call (varies from call to call): name, default", op.call_params);
  fmt::print("\nImplementations, best first\n");
  for (const Implementation& implementation : op.implementations) {
    const std::string text =
        fmt::format("[{}] {}", families_of(implementation), implementation.doc);
    fmt::print("  {:<26} {}\n", implementation.name, folded(text, 29));
  }
}

Json to_json(const std::vector<ParamSpec>& params) {
  Json array = Json::array();
  for (const ParamSpec& param : params) {
    Json object = {{"name", param.name}, {"doc", param.doc}, {"accepted", accepted(param)}};
    std::visit([&](const auto& value) { object["default"] = value; }, param.default_value);
    array.push_back(std::move(object));
  }
  return array;
}

Json to_json(const Op& op) {
  Json object = {{"op", op.name},
                 {"doc", op.doc},
                 {"shape", to_json(op.shape_params)},
                 {"call", to_json(op.call_params)}};
  object["implementations"] = Json::array();
  for (const Implementation& implementation : op.implementations) {
    object["implementations"].push_back({{"name", implementation.name},
                                         {"doc", implementation.doc},
                                         {"families", families_of(implementation)}});
  }
  return object;
}

ExitCode show_ops(Session& session, const std::string& name) {
  Json result;
  result["ops"] = Json::array();
  if (!name.empty()) {
    KILN_CLI_TRY_ASSIGN(const Op* const op, session, find_op(name));
    if (!session.json) print_op(*op);
    result["ops"].push_back(to_json(*op));
    return session.finish(std::move(result));
  }
  for (const Op& op : ops()) {
    if (!session.json) fmt::print("{:<20} {}\n", op.name, folded(op.doc, 21));
    result["ops"].push_back(to_json(op));
  }
  if (!session.json) fmt::print("\n'jitctl ops OP' shows parameters and implementations.\n");
  return session.finish(std::move(result));
}

}  // namespace

Action add_ops(CLI::App& app, Session& session) {
  auto name = std::make_shared<std::string>();
  app.add_option("OP", *name, "One op, in full");
  return [name, &session] { return show_ops(session, *name); };
}

}  // namespace kiln::cli
