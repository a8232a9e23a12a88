// SPDX-License-Identifier: Apache-2.0
#include "jit/compiler_log.h"

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

}  // namespace

std::string first_error_line(std::string_view log) {
  const std::string_view first = log.substr(0, log.find('\n'));
  while (!log.empty()) {
    const std::string_view line = take_line(log);
    if (line.find("error") != std::string_view::npos) return std::string(line);
  }
  return std::string(first);
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
