// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch: a kernel starts while the one before it ends. sm_90 and later;
// nothing elsewhere, where kernels follow one another anyway.
#pragma once

#include "kiln/dialect.h"

namespace kiln {

// Waits until all that the kernels before this one wrote can be read. Only what no kernel writes
// (weights) may be read earlier. Every kernel calls it, also one that needs nothing: its successor
// relies on this kernel's wait for what came before.
KILN_DEVICE void dependency_wait() {
  dialect::dependency_wait();
}
// Lets the next kernel start; it says nothing of what this one has written.
KILN_DEVICE void launch_dependents() {
  dialect::launch_dependents();
}

}  // namespace kiln
