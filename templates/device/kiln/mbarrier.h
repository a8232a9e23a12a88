// SPDX-License-Identifier: Apache-2.0
// Barriers in shared memory, of sm_80 on (mbarrier): a phase ends when as many have arrived as
// init() said, and the next begins by itself. Those who arrive do not wait for those who wait.
#pragma once

#include "kiln/dialect.h"

#if KILN_DIALECT_CUDA

namespace kiln {

struct Mbarrier {
  u32 address;  // in shared memory: 8 bytes, aligned to as many

  // By one thread; the others use it after a block_barrier.
  KILN_DEVICE void init(u32 arrivals) const {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
  }
  KILN_DEVICE void arrive() const {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}\n" ::"r"(address)
                 : "memory");
  }
  // This thread arrives once all its asynchronous copies so far are there.
  KILN_DEVICE void arrive_after_copies() const {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(address) : "memory");
  }
  // Until the phase of this parity (0 for the first, 1 for the second, 0 for the third...) ended.
  KILN_DEVICE void wait(u32 parity) const {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};

// What this thread has seen of shared memory, written by threads and their copies, is what matrix
// products of a warpgroup read after it (fence.proxy.async).
KILN_DEVICE void fence_for_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace kiln

#endif
