// SPDX-License-Identifier: Apache-2.0
// What the files of the C interface share.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include "kiln/c_api.h"
#include "kiln/kiln.h"

namespace kiln::c {

kiln_status status_of(ErrorCode code);
// Keeps it for kiln_last_error().
kiln_status remember(Error error);
tl::unexpected<Error> is_null(std::string_view what);
Result<Runtime*> runtime_of(const kiln_runtime* handle);

// Runs `body`; no exception gets past it.
template <class Body>
kiln_status guard(Body body) noexcept {
  try {
    Result<void> result = body();
    return result ? KILN_OK : remember(std::move(result).error());
  } catch (const std::bad_alloc&) {
    return remember({ErrorCode::out_of_memory, "no memory", {}});  // short: held without allocating
  } catch (const std::exception& exception) {
    return remember({ErrorCode::internal, exception.what(), {}});
  } catch (...) {
    return remember({ErrorCode::internal, "an unknown exception", {}});
  }
}

// The struct as the caller knows it, with zeros for what they do not know.
template <class Struct>
Result<Struct> read_struct(const Struct* given, const char* name) {
  if (!given) return is_null(name);
  Struct copy{};
  if (given->size_bytes <= sizeof copy.size_bytes || given->size_bytes > sizeof copy) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}.size_bytes is {}; set it to sizeof({}), here {} (a larger one is "
                            "of a newer Kiln's header)",
                            name, given->size_bytes, name, sizeof copy));
  }
  std::memcpy(&copy, given, given->size_bytes);
  return copy;
}

}  // namespace kiln::c
