// SPDX-License-Identifier: Apache-2.0
#include "jit/base/compile_input.h"

#include <fmt/format.h>

#include <algorithm>

namespace kiln {
namespace {

constexpr const char* kTimeMacros[] = {"__DATE__", "__TIME__", "__TIMESTAMP__"};
constexpr const char* kOptionPrefixes[] = {"-D", "-U", "-std="};

void add_text(Record& record, std::string_view kind, const SourceText& source) {
  record.add(kind, fmt::format("{} {} bytes blake2b {}", source.name, source.text.size(),
                               Digest::of(source.text).hex()));
}

Result<void> check_text(const SourceText& source) {
  for (const char* macro : kTimeMacros) {
    if (source.text.find(macro) == std::string::npos) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' uses {}, so its code would depend on when it was compiled and "
                            "could not be cached; pass such a value with -D or as an argument",
                            source.name, macro));
  }
  return {};
}

}  // namespace

Record CompileInput::request() const {
  Record record;
  record.add("schema", "kiln-request-1");
  record.add("op", op);
  record.add("implementation", implementation);
  record.add_all("shape", shape.record());
  record.add("arch", arch.name());
  add_text(record, "source", source);
  for (const SourceText& header : headers) add_text(record, "header", header);
  for (const std::string& expression : name_expressions) record.add("name_expression", expression);
  for (const std::string& option : options) record.add("option", option);
  record.add("entry_format", kEntryFormatVersion);
  record.add("launch_abi", kLaunchAbiVersion);
  return record;
}

Result<void> CompileInput::check() const {
  if (name_expressions.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' has no name expression: name the kernel function to compile",
                            source.name));
  }
  for (const std::string& option : options) {
    const bool known = std::any_of(std::begin(kOptionPrefixes), std::end(kOptionPrefixes),
                                   [&](const char* prefix) { return option.starts_with(prefix); });
    if (known) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("option '{}': only -D, -U and -std= are accepted; others read files or "
                            "have side effects, and a cached kernel would not have them",
                            option));
  }
  KILN_TRY(check_text(source));
  for (const SourceText& header : headers) KILN_TRY(check_text(header));
  return {};
}

std::string CompileInput::label() const {
  return fmt::format("{} {} {}", implementation, shape.text(), arch.name());
}

}  // namespace kiln
