// SPDX-License-Identifier: Apache-2.0
#include "jit/base/record.h"

#include <fmt/format.h>

#include <cassert>
#include <charconv>
#include <map>

namespace kiln {

void Record::add(std::string_view name, std::string_view value) {
  assert(!name.empty() && name.find_first_of(":\n") == std::string_view::npos);
  fields_.push_back({std::string(name), std::string(value)});
}

void Record::add(std::string_view name, std::int64_t value) {
  add(name, fmt::format("{}", value));
}

void Record::add_all(std::string_view prefix, const Record& other) {
  for (const Field& field : other.fields_)
    add(fmt::format("{}.{}", prefix, field.name), field.value);
}

std::optional<std::string_view> Record::find(std::string_view name) const {
  for (const Field& field : fields_) {
    if (field.name == name) return field.value;
  }
  return std::nullopt;
}

std::string Record::text() const {
  std::size_t size = 0;
  for (const Field& field : fields_) size += field.name.size() + field.value.size() + 24;
  std::string out;
  out.reserve(size);
  for (const Field& field : fields_) {
    fmt::format_to(std::back_inserter(out), "{}:{}:", field.name, field.value.size());
    out += field.value;
    out += '\n';
  }
  return out;
}

Result<Record> Record::parse(std::string_view text) {
  Record record;
  std::size_t at = 0;
  const auto bad = [&](const char* what) {
    return fail(ErrorCode::cache_failed, fmt::format("record: {} at byte {}", what, at));
  };
  while (at < text.size()) {
    const std::size_t name_end = text.find(':', at);
    if (name_end == std::string_view::npos || name_end == at) return bad("no field name");
    const std::string_view name = text.substr(at, name_end - at);
    std::uint64_t length = 0;
    const char* first = text.data() + name_end + 1;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, length);
    if (error != std::errc{} || end == last || *end != ':') return bad("no value length");
    const std::size_t value_at = static_cast<std::size_t>(end - text.data()) + 1;
    if (length >= text.size() - value_at) return bad("a value longer than the record");
    if (text[value_at + length] != '\n') return bad("no end of field");
    if (name.find('\n') != std::string_view::npos) return bad("a newline in a field name");
    record.add(name, text.substr(value_at, length));
    at = value_at + length + 1;
  }
  return record;
}

namespace {
using ByName = std::map<std::string, std::vector<std::string>>;

ByName by_name(const Record& record) {
  ByName map;
  for (const auto& field : record.fields()) map[field.name].push_back(field.value);
  return map;
}

std::optional<std::string> value_at(const ByName& map, const std::string& name, std::size_t index) {
  const auto found = map.find(name);
  if (found == map.end() || index >= found->second.size()) return std::nullopt;
  return found->second[index];
}
}  // namespace

std::vector<RecordDifference> differences(const Record& before, const Record& after) {
  const ByName old_values = by_name(before);
  const ByName new_values = by_name(after);
  std::vector<RecordDifference> found;
  std::map<std::string, std::size_t> seen;
  for (const auto& field : after.fields()) {
    auto old_value = value_at(old_values, field.name, seen[field.name]++);
    if (old_value != field.value) found.push_back({field.name, std::move(old_value), field.value});
  }
  seen.clear();
  for (const auto& field : before.fields()) {
    const std::size_t index = seen[field.name]++;
    if (!value_at(new_values, field.name, index)) found.push_back({field.name, field.value, {}});
  }
  return found;
}

}  // namespace kiln
