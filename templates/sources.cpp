// SPDX-License-Identifier: Apache-2.0
#include "templates/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "templates/embedded.h"

namespace kiln {
namespace {

// `text` with each comment replaced by a space, so that an #include in one is not taken for real.
std::string without_comments(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const std::string_view two = text.substr(i, 2);
    if (quote != '\0') {
      if (c == quote || c == '\n') quote = '\0';
      result += c;
      if (c == '\\' && i + 1 < text.size()) result += text[++i];
    } else if (two == "//") {
      i = std::min(text.find('\n', i), text.size()) - 1;
    } else if (two == "/*") {
      const std::size_t end = text.find("*/", i + 2);
      result += ' ';
      i = end == std::string_view::npos ? text.size() : end + 1;
    } else {
      // An apostrophe within a number (1'000) opens no character.
      const bool in_number = c == '\'' && !result.empty() && std::isalnum(result.back()) != 0;
      if (c == '"' || (c == '\'' && !in_number)) quote = c;
      result += c;
    }
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin);
}

// The NAME of a line `#include "NAME"`, else empty.
std::string_view included_name(std::string_view line) {
  line = trimmed(line);
  if (!line.starts_with('#')) return {};
  line = trimmed(line.substr(1));
  if (!line.starts_with("include")) return {};
  line = trimmed(line.substr(7));
  if (!line.starts_with('"')) return {};
  line.remove_prefix(1);
  return line.substr(0, line.find('"'));
}

std::vector<std::string> included_names(std::string_view text) {
  const std::string code = without_comments(text);
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < code.size();) {
    const std::size_t end = std::min(code.find('\n', begin), code.size());
    const std::string_view name = included_name(std::string_view(code).substr(begin, end - begin));
    if (!name.empty()) names.emplace_back(name);
    begin = end + 1;
  }
  return names;
}

bool holds(std::span<const SourceText> headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const SourceText& header) { return header.name == name; });
}

// Depth first, as a preprocessor meets them.
Result<void> add_reached(std::string_view text, std::string_view who,
                         std::span<const SourceText> generated, std::vector<SourceText>& reached) {
  for (const std::string& name : included_names(text)) {
    if (holds(generated, name) || holds(reached, name)) continue;
    const std::optional<std::string_view> found = find_source(name);
    if (!found) {
      return fail(ErrorCode::internal,
                  fmt::format("'{}' includes \"{}\", which is not among the embedded sources: put "
                              "it under templates/device/ or templates/kernels/",
                              who, name));
    }
    reached.push_back({name, std::string(*found)});
    KILN_TRY(add_reached(*found, name, generated, reached));
  }
  return {};
}

}  // namespace

std::optional<std::string_view> find_source(std::string_view name) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.name == name) return file.text;
  }
  return std::nullopt;
}

Result<std::vector<SourceText>> reached_headers(std::string_view text,
                                                std::span<const SourceText> generated) {
  std::vector<SourceText> reached;
  KILN_TRY(add_reached(text, "the source", generated, reached));
  for (const SourceText& header : generated) {
    KILN_TRY(add_reached(header.text, header.name, generated, reached));
  }
  return reached;
}

}  // namespace kiln
