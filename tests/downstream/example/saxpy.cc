// SPDX-License-Identifier: Apache-2.0
// Text for Kiln's compiler, not part of the program: y = a x + y + BIAS, for the CPU.
#include "saxpy.h"

namespace example {
void saxpy(const void* /*host*/, const void* params, long long first, long long last) {
  const SaxpyParams& p = *static_cast<const SaxpyParams*>(params);
  for (long long i = first; i < last; ++i) p.y[i] += p.a * p.x[i] + BIAS;
}
}  // namespace example
