// SPDX-License-Identifier: Apache-2.0
#include "jit/ptx_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <vector>

namespace kiln {
namespace {

constexpr std::string_view kLine = "ptx input, line ";

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(lines.back().size() + 1, text.size()));
  }
  return lines;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text;
}

// Takes a number and the blanks before it off the front.
std::optional<std::size_t> take_number(std::string_view& text) {
  text = trimmed(text);
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// What follows `directive` at the start of a line.
std::optional<std::string_view> after(std::string_view line, std::string_view directive) {
  line = trimmed(line);
  if (!line.starts_with(directive)) return std::nullopt;
  return line.substr(directive.size());
}

// The compiler puts the current folder before the names that it was given.
std::string name_in_input(std::string_view path, const CompileInput& input) {
  std::string best;
  const auto consider = [&](const std::string& name) {
    const bool fits = path == name || path.ends_with("/" + name);
    if (fits && name.size() > best.size()) best = name;
  };
  consider(input.source.name);
  for (const SourceText& header : input.headers) consider(header.name);
  return best;
}

// Of `.file 2 "/folder/kiln/tile.h"`, by number.
std::map<std::size_t, std::string> files_in(const std::vector<std::string_view>& ptx,
                                            const CompileInput& input) {
  std::map<std::size_t, std::string> files;
  for (const std::string_view line : ptx) {
    auto rest = after(line, ".file");
    const auto number = rest ? take_number(*rest) : std::nullopt;
    if (!number) continue;
    std::string_view path = trimmed(*rest);
    if (!path.starts_with('"')) continue;
    path = path.substr(1, path.find('"', 1) - 1);
    files[*number] = name_in_input(path, input);
  }
  return files;
}

// The place that the last `.loc` before the line gives; empty when there is none.
std::string place_of(const std::vector<std::string_view>& ptx, std::size_t line,
                     const std::map<std::size_t, std::string>& files) {
  for (std::size_t i = std::min(line, ptx.size()); i > 0; --i) {
    auto rest = after(ptx[i - 1], ".loc");
    if (!rest) continue;
    const auto file = take_number(*rest);
    const auto source_line = take_number(*rest);
    const auto name = file ? files.find(*file) : files.end();
    if (!source_line || name == files.end() || name->second.empty()) return {};
    return fmt::format("{}:{}", name->second, *source_line);
  }
  return {};
}

}  // namespace

bool names_ptx_lines(std::string_view log) {
  return log.find(kLine) != std::string_view::npos;
}

std::string place_ptx_errors(std::string_view log, std::string_view ptx,
                             const CompileInput& input) {
  const std::vector<std::string_view> ptx_lines = lines_of(ptx);
  const auto files = files_in(ptx_lines, input);
  std::string placed;
  for (const std::string_view line : lines_of(log)) {
    const std::size_t at = line.find(kLine);
    std::string_view rest = at == std::string_view::npos ? "" : line.substr(at + kLine.size());
    const auto number = take_number(rest);
    const std::string place = number ? place_of(ptx_lines, *number, files) : "";
    const std::size_t colon = rest.find(": ");
    if (place.empty() || colon == std::string_view::npos || line.find("error") == line.npos) {
      placed += std::string(line) + "\n";
      continue;
    }
    placed +=
        fmt::format("{}: error: {}; PTX line {}: {}\n", place, rest.substr(colon + 2), *number,
                    *number <= ptx_lines.size() ? trimmed(ptx_lines[*number - 1]) : "");
  }
  return placed;
}

}  // namespace kiln
