// SPDX-License-Identifier: Apache-2.0
#include "jit/base/artifact.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "jit/base/compile_input.h"
#include "jit/base/record.h"

namespace kiln {
namespace {

constexpr std::array kFormats = {CodeFormat::cubin, CodeFormat::ptx, CodeFormat::hsaco,
                                 CodeFormat::shared_object};

struct ResourceField {
  const char* name;
  std::optional<int> KernelResources::*value;
};
constexpr ResourceField kResources[] = {
    {"registers", &KernelResources::registers},
    {"shared_bytes_static", &KernelResources::shared_bytes_static},
    {"stack_bytes", &KernelResources::stack_bytes},
    {"spill_store_bytes", &KernelResources::spill_store_bytes},
    {"spill_load_bytes", &KernelResources::spill_load_bytes},
    {"threads_per_block_max", &KernelResources::threads_per_block_max},
};

tl::unexpected<Error> bad(std::string_view what) {
  return fail(ErrorCode::cache_failed, fmt::format("stored kernel: {}", what));
}

Result<int> to_int(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return bad("a number is damaged");
  return value;
}

// Adds one field other than the code to `artifact`; entries begin with their name expression.
Result<void> take_field(Artifact& artifact, const Record::Field& field) {
  if (field.name == "name_expression") {
    artifact.entries.push_back({field.value, {}, {}});
    return {};
  }
  if (artifact.entries.empty()) return bad("no entry point before '" + field.name + "'");
  EntryPoint& entry = artifact.entries.back();
  if (field.name == "symbol") {
    entry.symbol = field.value;
    return {};
  }
  for (const ResourceField& resource : kResources) {
    if (field.name != resource.name) continue;
    KILN_TRY_ASSIGN(entry.resources.*resource.value, to_int(field.value));
    return {};
  }
  return bad("unknown field '" + field.name + "'");
}

}  // namespace

std::string_view name_of(CodeFormat format) {
  switch (format) {
    case CodeFormat::cubin:
      return "cubin";
    case CodeFormat::ptx:
      return "ptx";
    case CodeFormat::hsaco:
      return "hsaco";
    case CodeFormat::shared_object:
      return "shared_object";
  }
  return "unknown";
}

Bytes Artifact::encode() const {
  Record record;
  record.add("entry_format", kEntryFormatVersion);
  record.add("format", name_of(format));
  for (const EntryPoint& entry : entries) {
    record.add("name_expression", entry.name_expression);
    record.add("symbol", entry.symbol);
    for (const ResourceField& resource : kResources) {
      if (const auto& value = entry.resources.*resource.value) record.add(resource.name, *value);
    }
  }
  record.add("code", as_text(code));
  const std::string text = record.text();
  return to_bytes(as_bytes(text));
}

Result<Artifact> Artifact::decode(ByteView bytes) {
  KILN_TRY_ASSIGN(const Record record, Record::parse(as_text(bytes)));
  const auto& fields = record.fields();
  if (fields.size() < 3 || fields[0].name != "entry_format" || fields[1].name != "format" ||
      fields.back().name != "code") {
    return bad("not an artifact");
  }
  if (fields[0].value != fmt::format("{}", kEntryFormatVersion)) {
    return bad("entry format " + fields[0].value);
  }
  Artifact artifact;
  bool known = false;
  for (const CodeFormat format : kFormats) {
    if (name_of(format) != fields[1].value) continue;
    artifact.format = format;
    known = true;
  }
  if (!known) return bad("unknown code format '" + fields[1].value + "'");
  for (std::size_t i = 2; i + 1 < fields.size(); ++i) KILN_TRY(take_field(artifact, fields[i]));
  artifact.code = to_bytes(as_bytes(fields.back().value));
  return artifact;
}

}  // namespace kiln
