// SPDX-License-Identifier: Apache-2.0
#include "templates/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "jit/base/include_scan.h"
#include "templates/embedded.h"

namespace kiln {
namespace {

// Those of #include "NAME"; <NAME> is for the compiler's own.
std::vector<std::string> included_names(std::string_view text) {
  std::vector<std::string> names;
  for (const NamedFile& named : files_named_in(text)) {
    const std::string_view quoted = named.quoted();
    if (named.by != NamedBy::include || !quoted.starts_with('"') || quoted.size() < 3) continue;
    names.emplace_back(quoted.substr(1, quoted.size() - 2));
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
