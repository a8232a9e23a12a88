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

// What makes a score of a logit: 1 / (1 + e^-x) of each, or softmax over all N.
enum class RouterScores { sigmoid, softmax };

// Which experts a token goes to, chosen by its logits as `out` holds them. In fp32, with x the
// logits and s the scores of a token:
//
//   c = s + correction                                 the choice is by c, the weights by s
//   group score = sum of the two largest c in it       n_group > 1 alone: experts of the
//                                                      topk_group best groups can be chosen
//   ids = the topk experts of the largest c, in that order
//   weights = s[ids], divided by (their sum + 1e-20) if renormalize, times scale
//
// as in DeepSeek-V3 (section 2.1.2 and its published model code). The columns after the chosen
// ones, if there are shared experts, have ids N, N + 1, ... and shared_weight.
//
// Equal scores: the lower index goes first, for experts and for groups. A NaN is below every
// number, -infinity included; so ids are always topk different experts, and what is not a number in
// the scores is found in the weights.
struct RouterGate {
  RouterScores scores = RouterScores::sigmoid;
  DLTensor ids;                        // i32 [M, topk + shared_experts], written
  DLTensor weights;                    // f32 of the same shape, written
  std::optional<DLTensor> correction;  // bf16, f16 or f32 [N], contiguous
  int n_group = 1;                     // 1 to 32 groups of N / n_group neighbouring experts each
  int topk_group = 1;                  // 1 to n_group
  int shared_experts = 0;
  bool renormalize = true;
  float scale = 1;          // routed_scaling_factor, where it is applied to the weights
  float shared_weight = 1;  // 1 / routed_scaling_factor where that is applied later to all columns
};

// Tensors are the caller's and must stay until the stream has run the call. All lie on one device.
// They are dense in their last dimension and may have any stride in the first, at any address;
// fastest where rows of a and w begin at multiples of 16 bytes. No written tensor overlaps another.
struct RouterGemmArgs {
  DLTensor a;                      // bf16 or f16 [M, K]: tokens; M is 0 or more
  DLTensor w;                      // type of a, [N, K]
  DLTensor out;                    // f32, bf16 or f16 [M, N], written
  std::optional<DLTensor> bias;    // bf16, f16 or f32 [N], contiguous
  std::optional<RouterGate> gate;  // N is then at most 1024, and topk at most 32

  // f32, contiguous; with it a call on a GPU shares K out over more of the chip, and a gated call
  // of up to 16 tokens is one launch instead of two: the same function of `out` either way. Zeros
  // before its first use; each call leaves its counters zero. Not for two calls that may run at the
  // same time.
  std::optional<DLTensor> workspace;
};

// The elements of the workspace that serve these arguments best. Reads only the tensors' shapes:
// data and `args.workspace` may be missing. Thread-safe. Errors: invalid_argument.
KILN_API Result<std::int64_t> router_gemm_workspace_floats(const RouterGemmArgs& args);

// Launches on `options.stream`; on the CPU it is done when this returns. A new M, topk, topk_group,
// scale or stride never compiles anything; the kind of scores, the type of the correction and
// n_group are part of the shape (n_group decides which lanes hold a group). Thread-safe. Errors:
// invalid_argument for tensors that do not fit the table above, saying which and how; those of
// Runtime::select and Runtime::kernel.
KILN_API Result<void> router_gemm(Runtime& runtime, const RouterGemmArgs& args,
                                  const CallOptions& options = {});

}  // namespace kiln
