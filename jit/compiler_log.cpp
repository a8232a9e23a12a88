// SPDX-License-Identifier: Apache-2.0
#include "jit/compiler_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace kiln {
namespace {

// Takes one line, without its end, off the front of `text`.
std::string_view take_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

// The number that stands before `words`: 1536 of "..., 1536 bytes smem, ...".
std::optional<int> number_before(std::string_view line, std::string_view words) {
  const std::size_t end = line.find(words);
  if (end == std::string_view::npos || end == 0) return std::nullopt;
  const std::size_t before = line.find_last_not_of("0123456789", end - 1);
  const std::size_t start = before == std::string_view::npos ? 0 : before + 1;
  int number = 0;
  const auto [stop, error] = std::from_chars(line.data() + start, line.data() + end, number);
  if (error != std::errc{} || stop != line.data() + end) return std::nullopt;
  return number;
}

// What follows `words` up to `end`, or nothing when the line does not hold them.
std::optional<std::string_view> text_after(std::string_view line, std::string_view words,
                                           std::string_view end) {
  const std::size_t at = line.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  line.remove_prefix(at + words.size());
  return line.substr(0, end.empty() ? line.size() : line.find(end));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

int column_in(std::string_view digits) {
  int column = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), column);
  return column;
}

struct Place {
  std::string file_and_line;
  int column;
};

// "tile.h:12" of "tile.h(12)", "tile.h:12:5" and "tile.h:12"; nothing when it is no place.
// clang puts the folder that a header was found in before its name: "./".
std::optional<Place> place_of(std::string_view text) {
  if (text.starts_with("./")) text.remove_prefix(2);
  while (!text.empty() && (text.back() == ' ' || text.back() == ':')) text.remove_suffix(1);
  if (text.ends_with(')')) {
    const std::size_t open = text.rfind('(');
    if (open == std::string_view::npos || open == 0) return std::nullopt;
    const std::string_view line = text.substr(open + 1, text.size() - open - 2);
    if (!is_number(line)) return std::nullopt;
    return Place{fmt::format("{}:{}", text.substr(0, open), line), 0};
  }
  const auto split = [](std::string_view whole) -> std::optional<std::string_view> {
    const std::size_t colon = whole.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return std::nullopt;
    return is_number(whole.substr(colon + 1)) ? std::optional(whole.substr(0, colon))
                                              : std::nullopt;
  };
  const auto once = split(text);
  if (!once) return std::nullopt;
  if (!split(*once)) return Place{std::string(text), 0};
  return Place{std::string(*once), column_in(text.substr(once->size() + 1))};
}

// NVRTC names no column: it prints the line of the source, indented by two, and a caret below.
int column_of_caret(std::string_view log) {
  take_line(log);
  const std::string_view line = take_line(log);
  const std::size_t caret = line.find_first_not_of(" \t");
  if (!line.starts_with("  ") || caret == std::string_view::npos || line[caret] != '^') return 0;
  return static_cast<int>(caret) - 1;
}

// Nothing when the line reports no error.
std::optional<CompilerError> error_on(std::string_view line) {
  for (const std::string_view word : {"catastrophic error", "fatal error", "fatal   ", "error"}) {
    const std::size_t at = line.find(word);
    if (at == std::string_view::npos) continue;
    std::string_view rest = line.substr(at + word.size());
    if (rest.starts_with(" #")) rest.remove_prefix(std::min(rest.find(':'), rest.size()));
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (!rest.starts_with(':')) continue;
    rest.remove_prefix(std::min(rest.find_first_not_of(": "), rest.size()));
    const std::string_view before = line.substr(0, at);
    if (before.find_first_not_of(" ") == std::string_view::npos) {
      return CompilerError{{}, std::string(rest)};
    }
    if (auto place = place_of(before)) {
      return CompilerError{std::move(place->file_and_line), std::string(rest), place->column};
    }
    return CompilerError{{}, std::string(line)};
  }
  return std::nullopt;
}

}  // namespace

std::vector<CompilerError> errors_in(std::string_view log) {
  std::vector<CompilerError> errors;
  while (!log.empty()) {
    auto error = error_on(take_line(log));
    if (!error) continue;
    if (error->column == 0 && !error->place.empty()) error->column = column_of_caret(log);
    errors.push_back(std::move(*error));
  }
  return errors;
}

std::string failure_message(std::string_view compiler, std::string_view label, std::string_view log,
                            std::string_view otherwise) {
  constexpr std::size_t kShown = 3;
  std::string text = fmt::format("{} cannot compile {}: ", compiler, label);
  const std::vector<CompilerError> errors = errors_in(log);
  for (std::size_t i = 0; i < std::min(kShown, errors.size()); ++i) {
    const CompilerError& error = errors[i];
    const std::string column = error.column > 0 ? fmt::format(":{}", error.column) : "";
    text += fmt::format("{}{}{}{}{}", i > 0 ? "; " : "", error.place, column,
                        error.place.empty() ? "" : ": ", error.text);
  }
  if (errors.size() > kShown) text += fmt::format("; and {} more", errors.size() - kShown);
  if (!errors.empty()) return text;
  return text + std::string(otherwise.empty() ? log.substr(0, log.find('\n')) : otherwise);
}

std::map<std::string, KernelResources, std::less<>> parse_ptxas_log(std::string_view log) {
  std::map<std::string, KernelResources, std::less<>> found;
  KernelResources* entry = nullptr;     // whose "Used ... registers" comes next
  KernelResources* function = nullptr;  // whose stack line comes next; null for a callee's
  while (!log.empty()) {
    const std::string_view line = take_line(log);
    if (const auto name = text_after(line, "Compiling entry function '", "'")) {
      entry = &found[std::string(*name)];
      entry->shared_bytes_static = 0;  // said only when there is some
    } else if (const auto properties_of = text_after(line, "Function properties for ", "")) {
      const auto at = found.find(*properties_of);
      function = at == found.end() ? nullptr : &at->second;
    } else if (function && line.find("bytes stack frame") != std::string_view::npos) {
      function->stack_bytes = number_before(line, " bytes stack frame");
      function->spill_store_bytes = number_before(line, " bytes spill stores");
      function->spill_load_bytes = number_before(line, " bytes spill loads");
    } else if (entry && line.find("Used ") != std::string_view::npos) {
      entry->registers = number_before(line, " registers");
      if (const auto bytes = number_before(line, " bytes smem")) entry->shared_bytes_static = bytes;
      if (const auto bytes = number_before(line, " bytes cumulative stack size")) {
        entry->stack_bytes = bytes;
      }
    }
  }
  return found;
}

}  // namespace kiln
