// SPDX-License-Identifier: Apache-2.0
// router_gemm: the logits of a mixture-of-experts router.
#pragma once

#include <dlpack/dlpack.h>

#include <optional>

#include "jit/base/export.h"
#include "kiln/runtime.h"

namespace kiln {

// For each token m and expert n, summed in fp32 and rounded once to the type of `out`:
//
//   out[m,n] = sum over k of a[m,k] w[n,k], plus bias[n] where given
//
// which is a linear layer with its weights as checkpoints hold them ([experts, hidden]), as in the
// routers of DeepSeek-V3 (arXiv 2412.19437, section 2.1.2). The weights are read where they lie.
// How far the sum may be from the exact one: 4e-7 sqrt(K) |a[m]| |w[n]|.
//
// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// a, w and out are dense in their last dimension and may have any stride in the first, at any
// address; fastest where rows of a and w begin at multiples of 16 bytes. `out` overlaps no other
// tensor.
struct RouterGemmArgs {
  DLTensor a;                    // bf16 or f16 [M, K]: tokens; M is 0 or more
  DLTensor w;                    // type of a, [N, K]
  DLTensor out;                  // f32, bf16 or f16 [M, N], written
  std::optional<DLTensor> bias;  // bf16, f16 or f32 [N], contiguous
};

// Launches on `options.stream`; on the CPU it is done when this returns. A new M or stride never
// compiles anything. Thread-safe.
// Errors: invalid_argument for tensors that do not fit the table above, saying which and how; those
// of Runtime::select and Runtime::kernel.
KILN_API Result<void> router_gemm(Runtime& runtime, const RouterGemmArgs& args,
                                  const CallOptions& options = {});

}  // namespace kiln
