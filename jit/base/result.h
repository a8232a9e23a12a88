// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. No exception crosses a Kiln interface.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "jit/base/export.h"

namespace kiln {

// What a caller can do about a failure, one code per different reaction.
enum class ErrorCode {
  invalid_argument,  // the request itself is wrong; the message says what would be accepted
  unavailable,  // a library, compiler, device or arch is not here; the message says how to get it
  compile_failed,  // a compiler rejected the source; `log` holds its own words
  cache_miss,      // policy `locked` (or a capture) forbids the compile that would be needed
  cache_failed,   // the cache could not store or read; only prewarm and import report it as failure
  driver_failed,  // a driver call failed, or a binary was rejected
  out_of_memory,
  cancelled,  // the one who asked gave up
  internal,   // a bug in Kiln
};

KILN_API std::string_view name_of(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;  // one line: what was tried, on what, and what to do
  std::string log;      // the compiler's or driver's own output, may be empty or many lines
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

inline tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string log = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(log)});
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace kiln

#define KILN_CONCAT_INNER(a, b) a##b
#define KILN_CONCAT(a, b) KILN_CONCAT_INNER(a, b)

// Returns the error of `expr` from the enclosing function, if it has one.
#define KILN_TRY(expr)                                                             \
  do {                                                                             \
    auto&& kiln_try_result = (expr);                                               \
    if (!kiln_try_result) return ::kiln::fail(std::move(kiln_try_result).error()); \
  } while (false)

// Declares or assigns `target` from the value of `expr`, or returns its error.
#define KILN_TRY_ASSIGN(target, expr) \
  KILN_TRY_ASSIGN_INNER(KILN_CONCAT(kiln_result_, __LINE__), target, expr)
#define KILN_TRY_ASSIGN_INNER(result, target, expr)            \
  auto result = (expr);                                        \
  if (!result) return ::kiln::fail(std::move(result).error()); \
  target = std::move(*result)
