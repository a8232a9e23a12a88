// SPDX-License-Identifier: Apache-2.0
#include "jit/hiprtc_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>

#include "jit/base/include_scan.h"

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
  for (const NamedFile& named : files_named_in(text.text)) {
    const std::string_view quoted = named.quoted();
    if (quoted.size() > 2 && is_given(quoted, text.name, is_header, headers)) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' line {} includes {}, which hipRTC would look for on this "
                            "machine; give the header along with the source",
                            text.name, named.line, quoted.empty() ? named.text : quoted));
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
