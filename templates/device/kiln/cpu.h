// SPDX-License-Identifier: Apache-2.0
// Everything for kernels of the native CPU: vectors, maths, conversions, the launch ABI.
//
//   namespace kiln {
//   KILN_CPU_KERNEL(my_kernel, host, params, first, last) { ... }
//   }
//
// defines an entry point as kiln/cpu_abi.h describes it, under its C++ name (kiln::my_kernel); the
// other arguments are what the body calls those of KilnCpuEntry. A kernel links against nothing: it
// may call what is in these headers and nothing else.
#pragma once

#include "kiln/convert.h"
#include "kiln/cpu_abi.h"
#include "kiln/cpu_vector.h"
#include "kiln/math.h"

#define KILN_CPU_KERNEL(name, host, params, first, last)                                   \
  void name([[maybe_unused]] const KilnCpuHost* host, const void* params, long long first, \
            long long last)
