// SPDX-License-Identifier: Apache-2.0
// Record: an ordered list of named values with one unambiguous text form.
//
// The text form is what is hashed, what is stored beside an entry and compared on every hit, and
// what people read:
//
//   record := field*
//   field  := name ':' length ':' value '\n'     length in bytes, decimal; name without ':' or '\n'
//
// Since every value carries its length, no two different records have the same text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jit/base/digest.h"
#include "jit/base/export.h"
#include "jit/base/result.h"

namespace kiln {

class KILN_API Record {
 public:
  struct Field {
    std::string name;
    std::string value;
    friend bool operator==(const Field&, const Field&) = default;
  };

  // `name` must be non-empty and hold neither ':' nor a newline.
  void add(std::string_view name, std::string_view value);
  void add(std::string_view name, std::int64_t value);
  // Adds every field of `other` under "prefix.name".
  void add_all(std::string_view prefix, const Record& other);

  const std::vector<Field>& fields() const { return fields_; }
  // The first field of that name, or nothing.
  std::optional<std::string_view> find(std::string_view name) const;

  std::string text() const;
  Digest digest() const { return Digest::of(text()); }
  // Errors: cache_failed, with the position of the first byte that does not fit.
  static Result<Record> parse(std::string_view text);

  friend bool operator==(const Record&, const Record&) = default;

 private:
  std::vector<Field> fields_;
};

// One field in which two records differ; an absent value means the record lacks the field.
struct RecordDifference {
  std::string name;
  std::optional<std::string> before;
  std::optional<std::string> after;
};

// The differing fields, in the order of `after`, then those that only `before` has.
// Repeated names are paired in order.
KILN_API std::vector<RecordDifference> differences(const Record& before, const Record& after);

}  // namespace kiln
