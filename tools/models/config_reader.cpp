// SPDX-License-Identifier: Apache-2.0
#include "tools/models/config_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "jit/base/text_file.h"

namespace kiln::cli {

using nlohmann::json;

namespace {

Result<std::int64_t> share_of(std::int64_t count, int ranks, const std::string& where,
                              const char* name) {
  if (count % ranks == 0) return count / ranks;
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: {} = {} does not divide by --tp {}", where, name, count, ranks));
}

}  // namespace

ConfigReader ConfigReader::with_defaults(const json& defaults) const {
  ConfigReader reader = *this;
  reader.defaults_ = &defaults;
  return reader;
}

const json* ConfigReader::find(Names names, const char** found) const {
  bool is_null = false;
  for (const char* name : names) {
    const auto field = object_.find(name);
    if (field == object_.end()) continue;
    is_null = is_null || field->is_null();
    if (field->is_null()) continue;
    *found = name;
    return &*field;
  }
  if (is_null || !defaults_) return nullptr;
  for (const char* name : names) {
    const auto field = defaults_->find(name);
    if (field == defaults_->end()) continue;
    *found = name;
    return &*field;
  }
  return nullptr;
}

Result<const json*> ConfigReader::field(Names names, const char** found) const {
  if (const json* const value = find(names, found)) return value;
  std::string wanted;
  for (const char* name : names)
    wanted += fmt::format("{}'{}'", wanted.empty() ? "" : " or ", name);
  return fail(ErrorCode::invalid_argument, fmt::format("{}: lacks {}", where_, wanted));
}

tl::unexpected<Error> ConfigReader::bad(const char* name, const json& value,
                                        const char* accepted) const {
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: '{}' is {}, not {}", where_, name, value.dump(), accepted));
}

bool ConfigReader::has(const char* name) const {
  const char* found = nullptr;
  return find({name}, &found) != nullptr;
}

Result<std::int64_t> ConfigReader::integer(Names names) const {
  const char* name = nullptr;
  KILN_TRY_ASSIGN(const json* const value, field(names, &name));
  // No model counts anything in more, and products of two counts then fit 64 bits.
  constexpr std::int64_t kMost = INT32_MAX;
  if (!value->is_number_integer() || *value < 1 || *value > kMost) {
    return bad(name, *value, "a positive integer below 2^31");
  }
  return value->get<std::int64_t>();
}

Result<std::int64_t> ConfigReader::integer_or(Names names, std::int64_t absent) const {
  const char* name = nullptr;
  if (!find(names, &name)) return absent;
  return integer(names);
}

Result<std::int64_t> ConfigReader::integer_or_zero(Names names) const {
  const char* name = nullptr;
  const json* const value = find(names, &name);
  if (!value || (value->is_number_integer() && *value == 0)) return 0;
  return integer(names);
}

Result<std::int64_t> ConfigReader::per_rank(Names names, int ranks) const {
  KILN_TRY_ASSIGN(const std::int64_t count, integer(names));
  const char* name = nullptr;
  find(names, &name);
  return share_of(count, ranks, where_, name);
}

Result<std::string> ConfigReader::word(Names names) const {
  const char* name = nullptr;
  KILN_TRY_ASSIGN(const json* const value, field(names, &name));
  if (!value->is_string()) return bad(name, *value, "a string");
  return value->get<std::string>();
}

Result<std::string> ConfigReader::word_or(Names names, const char* absent) const {
  const char* name = nullptr;
  if (!find(names, &name)) return std::string(absent);
  return word(names);
}

Result<std::size_t> ConfigReader::array_size(const char* name) const {
  KILN_TRY_ASSIGN(const json* const value, field({name}, &name));
  if (!value->is_array()) return bad(name, *value, "a list");
  return value->size();
}

Result<std::int64_t> ConfigReader::count_of(const char* name, std::string_view word) const {
  KILN_TRY_ASSIGN(const json* const value, field({name}, &name));
  const auto is_word = [](const json& one) { return one.is_string(); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_word)) {
    return bad(name, *value, "a list of words");
  }
  return std::count(value->begin(), value->end(), word);
}

Result<ConfigReader> ConfigReader::object(const char* name) const {
  KILN_TRY_ASSIGN(const json* const value, field({name}, &name));
  if (!value->is_object()) return bad(name, *value, "an object");
  return ConfigReader(*value, fmt::format("{}: {}", where_, name));
}

Result<json> read_json_object(const std::filesystem::path& file) {
  KILN_TRY_ASSIGN(const std::string text, read_text_file(file));
  try {
    json parsed = json::parse(text);
    if (parsed.is_object()) return parsed;
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a model's config.json: no JSON object", file.string()));
  } catch (const json::exception& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not JSON: {}", file.string(), error.what()));
  }
}

}  // namespace kiln::cli
