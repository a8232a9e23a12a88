// SPDX-License-Identifier: Apache-2.0
// The storage types to and from float, one at a time and by vectors. Counts are multiples of 16.
#include "kiln/cpu.h"

namespace kiln::conversion_test {

struct Params {
  const void* in;
  void* out;
};

template <class From, class To>
void scalar(const void* params, i64 first, i64 last) {
  const Params& p = *static_cast<const Params*>(params);
  const From* in = static_cast<const From*>(p.in);
  To* out = static_cast<To*>(p.out);
  for (i64 i = first; i < last; ++i) out[i] = from_float<To>(to_float(in[i]));
}

template <class From, class To>
void vector(const void* params, i64 first, i64 last) {
  const Params& p = *static_cast<const Params*>(params);
  const From* in = static_cast<const From*>(p.in);
  To* out = static_cast<To*>(p.out);
  for (i64 i = first; i < last; i += vector_lanes) store(out + i, load(in + i));
}

#define KILN_TEST_CONVERSION(type)                                 \
  KILN_CPU_KERNEL(scalar_to_##type, host, params, first, last) {   \
    scalar<float, type>(params, first, last);                      \
  }                                                                \
  KILN_CPU_KERNEL(scalar_from_##type, host, params, first, last) { \
    scalar<type, float>(params, first, last);                      \
  }                                                                \
  KILN_CPU_KERNEL(vector_to_##type, host, params, first, last) {   \
    vector<float, type>(params, first, last);                      \
  }                                                                \
  KILN_CPU_KERNEL(vector_from_##type, host, params, first, last) { \
    vector<type, float>(params, first, last);                      \
  }

KILN_TEST_CONVERSION(bf16)
KILN_TEST_CONVERSION(f16)

// Two at a time into one register and out again.
KILN_CPU_KERNEL(pairs, host, params, first, last) {
  const Params& p = *static_cast<const Params*>(params);
  const float* in = static_cast<const float*>(p.in);
  float* out = static_cast<float*>(p.out);
  for (i64 i = first; i < last; i += 2) {
    const Vec<float, 2> back = unpack2<bf16>(pack2<bf16>(in[i], in[i + 1]));
    out[i] = back[0];
    out[i + 1] = back[1];
  }
}

}  // namespace kiln::conversion_test
