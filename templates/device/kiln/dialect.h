// SPDX-License-Identifier: Apache-2.0
// The one place that chooses a dialect. Each gives the same primitives, in namespace
// kiln::dialect, and the same macros; the headers beside this one build the dialect-independent
// API on them, and kernels use only that. templates/README.md has the table.
#pragma once

#include "kiln/base.h"

#if KILN_DIALECT_CUDA
#include "kiln/dialect/cuda.h"
#elif KILN_DIALECT_HIP
#include "kiln/dialect/hip.h"
#elif KILN_DIALECT_SIMT
#include "kiln/dialect/simt.h"
#else
#error "native CPU sources include kiln/cpu.h and have no threads, warps or shared memory"
#endif

namespace kiln {

// Threads per warp (wavefront), fixed at compile time: 32 or 64.
inline constexpr int warp_size = KILN_WARP_SIZE;
static_assert(warp_size == 32 || warp_size == 64, "KILN_WARP_SIZE is 32 or 64");

// One bit per lane.
using LaneMask = dialect::LaneMask;

// An element number. In the SIMT dialect it also carries the source line that wrote it, which is
// why accessors take it and not a plain integer.
using Index = dialect::Index;

// Where a kernel called a function: its default argument. The SIMT dialect reports it.
#if KILN_DIALECT_SIMT
using Site = dialect::Site;
#else
struct Site {};
#endif

// How a global access uses the caches.
enum class Cache {
  normal,
  readonly,   // nobody writes this memory while the kernel runs
  streaming,  // used once: first to be evicted
};

}  // namespace kiln
