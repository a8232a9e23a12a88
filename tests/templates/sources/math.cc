// SPDX-License-Identifier: Apache-2.0
// Each elementary function over an array, one float at a time and by vectors.
#include "kiln/cpu.h"

namespace kiln::math_test {

struct Params {
  const float* in;
  float* out;
};

#define KILN_TEST_FUNCTION(function)                                       \
  KILN_CPU_KERNEL(scalar_##function, host, params, first, last) {          \
    const Params& p = *static_cast<const Params*>(params);                 \
    for (i64 i = first; i < last; ++i) p.out[i] = kiln::function(p.in[i]); \
  }                                                                        \
  /* Whole vectors: `last - first` is a multiple of 16. */                 \
  KILN_CPU_KERNEL(vector_##function, host, params, first, last) {          \
    const Params& p = *static_cast<const Params*>(params);                 \
    for (i64 i = first; i < last; i += vector_lanes) {                     \
      store(p.out + i, kiln::function(load(p.in + i)));                    \
    }                                                                      \
  }

KILN_TEST_FUNCTION(exp)
KILN_TEST_FUNCTION(exp2)
KILN_TEST_FUNCTION(expm1)
KILN_TEST_FUNCTION(log)
KILN_TEST_FUNCTION(log2)
KILN_TEST_FUNCTION(log1p)
KILN_TEST_FUNCTION(tanh)
KILN_TEST_FUNCTION(sigmoid)
KILN_TEST_FUNCTION(softplus)
KILN_TEST_FUNCTION(sqrt)
KILN_TEST_FUNCTION(rsqrt)

}  // namespace kiln::math_test
