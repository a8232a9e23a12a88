// SPDX-License-Identifier: Apache-2.0
// A model's config.json, read field by field with errors that name file and field.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "jit/base/result.h"

namespace kiln::cli {

// Where several names are given, they are the names that versions of a configuration had for one
// field; the first that is there counts. A field that is not there has the default that
// with_defaults() gave; one that is null counts as absent, and has none.
// Errors: invalid_argument. Refers to the JSON object it was made of.
class ConfigReader {
 public:
  using Names = std::initializer_list<const char*>;

  ConfigReader(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // The same config, with `defaults` for fields that it leaves out; refers to them.
  ConfigReader with_defaults(const nlohmann::json& defaults) const;

  bool has(const char* name) const;
  // A count above 0.
  Result<std::int64_t> integer(Names names) const;
  Result<std::int64_t> integer_or(Names names, std::int64_t absent) const;
  // A count of what a model may have none of.
  Result<std::int64_t> integer_or_zero(Names names) const;
  // The share of one of `ranks` in a count that they divide.
  Result<std::int64_t> per_rank(Names names, int ranks) const;
  Result<std::string> word(Names names) const;
  Result<std::string> word_or(Names names, const char* absent) const;
  Result<std::size_t> array_size(const char* name) const;
  // How many entries of a list of words are `word`.
  Result<std::int64_t> count_of(const char* name, std::string_view word) const;
  Result<ConfigReader> object(const char* name) const;

  const std::string& where() const { return where_; }

 private:
  const nlohmann::json* find(Names names, const char** found) const;
  Result<const nlohmann::json*> field(Names names, const char** found) const;
  tl::unexpected<Error> bad(const char* name, const nlohmann::json& value,
                            const char* accepted) const;

  const nlohmann::json& object_;
  std::string where_;
  const nlohmann::json* defaults_ = nullptr;
};

// Errors: invalid_argument: a file that cannot be read, is not JSON (with line and column) or no
// JSON object.
Result<nlohmann::json> read_json_object(const std::filesystem::path& file);

}  // namespace kiln::cli
