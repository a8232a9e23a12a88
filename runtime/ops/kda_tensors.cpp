// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/kda_tensors.h"

#include <fmt/format.h>

#include "runtime/ops/tensor_check.h"

namespace kiln {

Result<void> check_kda_heads(std::string_view op, std::int64_t heads, std::int64_t value_heads) {
  if (heads > 0 && value_heads > 0 && value_heads % heads == 0) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: tensor 'q' has {} heads and tensor 'v' {}; each of one or more "
                          "query/key heads serves as many value heads",
                          op, heads, value_heads));
}

Result<void> check_kda_state(std::string_view op, const DLTensor& state) {
  if (stride_of(state, 2) == state.shape[3] || state.shape[2] <= 1) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: tensor 'state' has stride {} from row to row of a head; each [V, K] "
                          "matrix must be contiguous ({})",
                          op, stride_of(state, 2), state.shape[3]));
}

}  // namespace kiln
