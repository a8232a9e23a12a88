// SPDX-License-Identifier: Apache-2.0
#include "runtime/reference/kda_prefill.h"

namespace kiln::reference {

void kda_prefill_head(const KdaPrefillHead& head, std::span<double> state, std::span<double> out) {
  const std::size_t k_size = head.k_size;
  const std::size_t v_size = state.size() / k_size;
  const std::size_t gates = head.settings.gate == KdaGate::scalar ? 1 : k_size;
  for (std::size_t t = 0; t < head.b.size(); ++t) {
    KdaDecodeHead token;
    token.q = head.q.subspan(t * k_size, k_size);
    token.k = head.k.subspan(t * k_size, k_size);
    token.v = head.v.subspan(t * v_size, v_size);
    token.a = head.a.subspan(t * gates, gates);
    token.dt_bias = head.dt_bias;
    token.b = head.b[t];
    token.a_log = head.a_log;
    kda_decode_head(head.settings, token, state, out.subspan(t * v_size, v_size));
  }
}

}  // namespace kiln::reference
