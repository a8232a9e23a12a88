// SPDX-License-Identifier: Apache-2.0
// How a kernel is declared:
//
//   namespace kiln {
//   KILN_KERNEL(128, 4) my_kernel(KILN_PARAMS(MyParams) params) { ... }
//   }
//
// 128: most threads per block; 4: blocks that shall fit on a multiprocessor (a register limit; a
// hint on NVIDIA alone). One parameter, a plain struct by value, shared with the host.
#pragma once

#include "kiln/dialect.h"
