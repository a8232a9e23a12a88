// SPDX-License-Identifier: Apache-2.0
// How many bf16 products with fp32 sums a GPU does when nothing else holds it up.
#pragma once

#include "bench/gpu_bench.h"

namespace kiln::bench {

enum class MatrixInstruction { mma_sync, wgmma };

// TFLOP/s of one instruction on random operands: of mma.sync from registers, of wgmma from shared
// memory (sm_90a). Errors: those of compiling and launching.
Result<double> matrix_tflops(Runtime& runtime, const GpuMachine& machine, MatrixInstruction which);
// For a machine without a compiler: puts the kernel into the cache.
Result<void> prepare_matrix_rate(Runtime& runtime, const Arch& arch, MatrixInstruction which);

}  // namespace kiln::bench
