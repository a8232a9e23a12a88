// SPDX-License-Identifier: Apache-2.0
#include "jit/base/compile_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "jit/base/include_scan.h"

namespace kiln {
namespace {

constexpr const char* kTimeMacros[] = {"__DATE__", "__TIME__", "__TIMESTAMP__"};
constexpr std::string_view kOptionPrefixes[] = {"-D", "-U", "-std="};

void add_text(Record& record, std::string_view kind, const SourceText& source) {
  record.add(kind, fmt::format("{} {} bytes blake2b {}", source.name, source.text.size(),
                               Digest::of(source.text).hex()));
}

Result<void> check_no_time(std::string_view where, std::string_view text) {
  for (const char* macro : kTimeMacros) {
    if (text.find(macro) == std::string_view::npos) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' uses {}, so its code would depend on when it was compiled and "
                            "could not be cached; pass such a value with -D or as an argument",
                            where, macro));
  }
  return {};
}

// Inline assembly can read files too.
Result<void> check_no_file(const SourceText& source) {
  for (const std::string_view directive : {".incbin", ".include \\\""}) {
    if (source.text.find(directive) == std::string::npos) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' uses the assembler's {}, which reads a file outside the key; put "
                            "its contents into the source",
                            source.name, directive.substr(0, directive.find(' '))));
  }
  return {};
}

Result<void> check_includes(const SourceText& source) {
  for (const NamedFile& named : files_named_in(source.text)) {
    const std::string_view quoted = named.quoted();
    if (!quoted.empty() && !quoted.substr(1).starts_with('/')) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' line {} includes {}, which may be a file outside the key; give "
                            "the header along with the source and include it by its name",
                            source.name, named.line,
                            named.text.empty() ? "by way of a macro" : named.text));
  }
  return {};
}

Result<void> check_text(const SourceText& source) {
  KILN_TRY(check_no_time(source.name, source.text));
  KILN_TRY(check_no_file(source));
  return check_includes(source);
}

Result<void> check_option(const std::string& option) {
  const bool known = std::any_of(
      std::begin(kOptionPrefixes), std::end(kOptionPrefixes),
      [&](auto prefix) { return option.starts_with(prefix) && option.size() > prefix.size(); });
  if (known) return check_no_time(option, option);
  return fail(ErrorCode::invalid_argument,
              fmt::format("option '{}': only -D<name>, -U<name> and -std=<standard> are accepted; "
                          "others read files or have side effects, and a cached kernel would not "
                          "have them",
                          option));
}

// What an option sets: "A" of -DA=1 and of -UA, "std" of -std=c++17.
std::string_view subject_of(std::string_view option) {
  option.remove_prefix(option.starts_with("-std") ? 1 : std::min<std::size_t>(2, option.size()));
  return option.substr(0, option.find_first_of("=("));
}

// Options of different subjects mean the same in any order: macros are replaced where they are
// used, not where they are defined. Where two speak of one subject, the last one counts.
std::vector<std::string> in_order_of_meaning(std::vector<std::string> options) {
  std::set<std::string_view> subjects;
  for (const std::string& option : options) {
    if (!subjects.insert(subject_of(option)).second) return options;
  }
  std::sort(options.begin(), options.end());
  return options;
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
  for (const std::string& option : in_order_of_meaning(options)) record.add("option", option);
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
  for (const std::string& option : options) KILN_TRY(check_option(option));
  KILN_TRY(check_text(source));
  for (const SourceText& header : headers) KILN_TRY(check_text(header));
  return {};
}

std::string CompileInput::label() const {
  const std::string values = shape.text();
  return fmt::format("{}{}{} {}", implementation, values.empty() ? "" : " ", values, arch.name());
}

}  // namespace kiln
