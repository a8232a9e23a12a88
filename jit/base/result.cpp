// SPDX-License-Identifier: Apache-2.0
#include "jit/base/result.h"

namespace kiln {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::compile_failed:
      return "compile_failed";
    case ErrorCode::cache_miss:
      return "cache_miss";
    case ErrorCode::cache_failed:
      return "cache_failed";
    case ErrorCode::driver_failed:
      return "driver_failed";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

}  // namespace kiln
