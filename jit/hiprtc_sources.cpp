// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>

namespace kiln {
namespace {

namespace fs = std::filesystem;

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' '; });
}

Result<void> check_header_name(const std::string& name) {
  const auto refused = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("header '{}': {}; give it a relative name such as \"kernels/tile.h\"",
                            name, why));
  };
  if (name == kHiprtcOwnHeader) return refused("hipRTC has a header of its own by that name");
  if (has_control_character(name)) return refused("its name has a control character");
  const fs::path path(name);
  if (name.empty() || path.is_absolute() || !path.has_filename()) {
    return refused("hipRTC writes each header to a file and can write none of that name");
  }
  for (const fs::path& part : path) {
    if (part != ".." && part != ".") continue;
    return refused("hipRTC writes each header to a file, and that name leads out of its folder");
  }
  return {};
}

std::string_view trim_start(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text;
}

// "kiln/base.h" of `"kiln/base.h" // comment`, with its quotes or angle brackets.
std::string_view quoted_name(std::string_view text) {
  if (!text.starts_with('"') && !text.starts_with('<')) return {};
  const std::size_t end = text.find(text.front() == '"' ? '"' : '>', 1);
  return text.substr(0, end == std::string_view::npos ? end : end + 1);
}

// The files that a directive on this line names.
std::vector<std::string_view> names_on(std::string_view line) {
  line = trim_start(line);
  if (!line.starts_with('#')) return {};
  line = trim_start(line.substr(1));
  for (const std::string_view directive : {"include_next", "include"}) {
    if (line.starts_with(directive))
      return {quoted_name(trim_start(line.substr(directive.size())))};
  }
  std::vector<std::string_view> found;
  constexpr std::string_view kOperation = "__has_include";
  for (std::size_t at = line.find(kOperation); at != std::string_view::npos;
       at = line.find(kOperation, at + 1)) {
    const std::string_view after = trim_start(line.substr(at + kOperation.size()));
    if (after.starts_with('(')) found.push_back(quoted_name(trim_start(after.substr(1))));
  }
  return found;
}

// A quoted name is searched beside the file that includes it first; the main source lies in a
// folder of its own, where there is nothing.
bool is_given(std::string_view quoted, const std::string& includer, bool is_header,
              const std::vector<SourceText>& headers) {
  const std::string name(quoted.substr(1, quoted.size() - 2));
  std::string beside;
  if (is_header && quoted.starts_with('"')) {
    beside = (fs::path(includer).parent_path() / name).lexically_normal().string();
  }
  return std::any_of(headers.begin(), headers.end(), [&](const SourceText& header) {
    return header.name == name || header.name == beside;
  });
}

Result<SourceText> checked(const SourceText& text, bool is_header,
                           const std::vector<SourceText>& headers) {
  std::string_view rest = text.text;
  for (int number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    for (const std::string_view quoted : names_on(line)) {
      if (quoted.size() > 2 && is_given(quoted, text.name, is_header, headers)) continue;
      return fail(ErrorCode::invalid_argument,
                  fmt::format("'{}' line {} includes {}, which hipRTC would look for on this "
                              "machine; give the header along with the source",
                              text.name, number, quoted));
    }
  }
  std::string escaped;
  for (const char c : text.name) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return SourceText{text.name, fmt::format("#line 1 \"{}\"\n{}", escaped, text.text)};
}

}  // namespace

Result<HiprtcSources> hiprtc_sources(const CompileInput& input) {
  if (has_control_character(input.source.name)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("source '{}': its name has a control character", input.source.name));
  }
  for (const SourceText& header : input.headers) KILN_TRY(check_header_name(header.name));
  HiprtcSources sources;
  KILN_TRY_ASSIGN(sources.source, checked(input.source, false, input.headers));
  for (const SourceText& header : input.headers) {
    KILN_TRY_ASSIGN(SourceText text, checked(header, true, input.headers));
    sources.headers.push_back(std::move(text));
  }
  return sources;
}

}  // namespace kiln
