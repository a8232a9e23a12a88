// SPDX-License-Identifier: Apache-2.0
// How many rows the native CPU makes one work item of. The launch plan and the kernel both ask
// here, since a kernel is told only which items it shall do.
#pragma once

namespace kiln {

// Enough work to pay for the handing out of an item: a thread norms this many elements in the few
// microseconds that it takes to wake another one.
constexpr long long kQkRmsnormElementsPerItem = 16384;

// From so many bytes of outputs on they are written past the caches: their reader would not find
// much of them there. Smaller ones it does.
constexpr long long kQkRmsnormStreamBytes = 8LL << 20;

// `row_elements`: of q and k together.
constexpr long long qk_rmsnorm_cpu_rows(long long row_elements) {
  const long long rows = kQkRmsnormElementsPerItem / row_elements;
  return rows < 1 ? 1 : rows;
}

}  // namespace kiln
