// SPDX-License-Identifier: Apache-2.0
#include "jit/base/key.h"

#include <fmt/format.h>

namespace kiln {

Result<KeyRecord> KeyRecord::split(std::string_view text) {
  constexpr std::string_view kRequest = "request.";
  constexpr std::string_view kToolchain = "toolchain.";
  KILN_TRY_ASSIGN(const Record joined, Record::parse(text));
  KeyRecord halves;
  for (const Record::Field& field : joined.fields()) {
    const bool of_request = field.name.starts_with(kRequest);
    const std::size_t prefix = of_request ? kRequest.size() : kToolchain.size();
    if ((!of_request && !field.name.starts_with(kToolchain)) || field.name.size() == prefix) {
      return fail(
          ErrorCode::cache_failed,
          fmt::format("record: field '{}' is of neither request nor toolchain", field.name));
    }
    Record& half = of_request ? halves.request : halves.toolchain;
    half.add(std::string_view(field.name).substr(prefix), field.value);
  }
  // Also refuses halves that are mixed, and lengths written in another way.
  if (halves.joined().text() != text) {
    return fail(ErrorCode::cache_failed, "record: it is not in the form in which Kiln writes it");
  }
  return halves;
}

}  // namespace kiln
