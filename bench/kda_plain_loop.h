// SPDX-License-Identifier: Apache-2.0
// What somebody writes down who needs one token of Kimi Delta Attention on a CPU: the recurrence
// as plain loops in C++, for the compiler to make the best of. A source file of its own, compiled
// with -O3 alone.
#pragma once

#include <cstdint>

namespace kiln::bench {

struct KdaPlainInputs {  // bf16 bits, one head
  const std::uint16_t* q;
  const std::uint16_t* k;
  const std::uint16_t* v;
  const std::uint16_t* a;
  const std::uint16_t* b;
};

// Updates `state` [v_size, k_size] and writes `out` [v_size], bf16 bits. `rate` is e^A_log.
void kda_plain_loop(const KdaPlainInputs& in, float rate, std::int64_t k_size, std::int64_t v_size,
                    float* state, std::uint16_t* out);

}  // namespace kiln::bench
