// SPDX-License-Identifier: Apache-2.0
#include "kiln/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "jit/base/text_file.h"
#include "runtime/plan_format.h"

namespace kiln {
namespace {

constexpr std::string_view kBlanks = " \t\r";
// What an error message shows of a line that may be anything.
constexpr std::size_t kShownChars = 40;

std::string shown(std::string_view line) {
  std::string text(line.substr(0, kShownChars));
  for (char& letter : text) {
    if (letter < 0x20 || letter >= 0x7f) letter = '?';
  }
  return text + (line.size() > kShownChars ? "..." : "");
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    const std::size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

tl::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}

Result<PlanRequest> parse_request(std::string_view line) {
  const auto words = words_of(line);
  if (words.size() < 2) {
    return bad(
        fmt::format("'{}': a line is an op, an arch, and name=value for the shape", shown(line)));
  }
  KILN_TRY_ASSIGN(const Op* const op, find_op(words[0]));
  KILN_TRY_ASSIGN(Arch arch, Arch::parse(words[1]));
  std::vector<NameValue> given;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return bad(fmt::format("'{}': parameters are written name=value", shown(words[i])));
    }
    given.emplace_back(words[i].substr(0, equals), words[i].substr(equals + 1));
    for (const ParamSpec& param : op->call_params) {
      if (param.name != given.back().first) continue;
      return bad(fmt::format("'{}': a run-time argument of {}, which selects no kernel",
                             shown(words[i]), op->name));
    }
  }
  KILN_TRY_ASSIGN(OpArguments arguments, parse_arguments(*op, given));
  return PlanRequest{op, std::move(arguments.shape), std::move(arch)};
}

}  // namespace

Result<void> check_plan_header(std::string_view line) {
  const auto words = words_of(line);
  if (words.size() != 2 || words[0] != kPlanMagic) {
    return bad(fmt::format("'{}': no plan of Kiln's; its first line is '{} {}'", shown(line),
                           kPlanMagic, kPlanVersion));
  }
  if (words[1] == std::to_string(kPlanVersion)) return {};
  return bad(fmt::format("a plan of version {}; this Kiln reads version {}", shown(words[1]),
                         kPlanVersion));
}

std::string plan_line(const Op& op, const Shape& shape, const Arch& arch) {
  const std::string params = shape.text();
  return fmt::format("{} {}{}{}", op.name, arch.name(), params.empty() ? "" : " ", params);
}

std::string plan_text(std::span<const PlanRequest> requests) {
  std::set<std::string> lines;
  for (const PlanRequest& one : requests) lines.insert(plan_line(*one.op, one.shape, one.arch));
  std::string text = fmt::format("{} {}\n", kPlanMagic, kPlanVersion);
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

Result<std::vector<PlanRequest>> parse_plan(std::string_view text, std::string_view name) {
  std::vector<PlanRequest> requests;
  std::set<std::string> seen;
  const auto at_line = [&](int number, Error error) {
    error.message = fmt::format("{}:{}: {}", name, number, error.message);
    return fail(std::move(error));
  };
  int number = 0;
  do {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (++number == 1) {
      if (auto header = check_plan_header(line); !header) return at_line(1, header.error());
      continue;
    }
    const std::size_t first = line.find_first_not_of(kBlanks);
    if (first == std::string_view::npos || line[first] == '#') continue;
    auto request = parse_request(line);
    if (!request) return at_line(number, std::move(request).error());
    if (seen.insert(plan_line(*request->op, request->shape, request->arch)).second) {
      requests.push_back(std::move(*request));
    }
  } while (!text.empty());
  return requests;
}

Result<std::vector<PlanRequest>> read_plan(const std::filesystem::path& file) {
  KILN_TRY_ASSIGN(const std::string text, read_text_file(file));
  return parse_plan(text, file.string());
}

}  // namespace kiln
