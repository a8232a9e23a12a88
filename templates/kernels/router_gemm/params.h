// SPDX-License-Identifier: Apache-2.0
// The arguments of one router_gemm call, as every implementation gets them: what varies from call
// to call. Read by host and kernels alike, so it holds plain C types and no address of a C++
// object.
//
// out[m, n] = sum over k of a[m, k] w[n, k], plus bias[n] where the shape has one; the shape fixes
// N, K and the types, the form of the scores and the number of groups.
#pragma once

namespace kiln {

// What a gate makes of the logits. A row of ids and weights is `topk` chosen experts, the best
// first, and then the shared ones.
struct RouterGateParams {
  const void* correction;        // correction type [N], dense; unused where the shape has none
  float* weights;                // [M, topk + shared_experts]
  long long weights_row_stride;  // elements
  int* ids;                      // [M, topk + shared_experts]
  long long ids_row_stride;      // elements
  int topk;
  int topk_group;  // groups kept; unused where there is one group
  int shared_experts;
  int renormalize;
  float scale;
  float shared_weight;
};

struct RouterGemmParams {
  const void* a;             // io type [M, K]; [m, k] at m * a_row_stride + k
  long long a_row_stride;    // elements
  const void* w;             // io type [N, K]; [n, k] at n * w_row_stride + k
  long long w_row_stride;    // elements
  const void* bias;          // bias type [N], dense; unused where the shape has none
  void* out;                 // out type [M, N]; [m, n] at m * out_row_stride + n
  long long out_row_stride;  // elements
  float* workspace;          // begins with counters, zero between calls; null: none
  long long workspace_floats;
  RouterGateParams gate;  // unused where the shape has gate=none
  int tokens;             // M
};
static_assert(sizeof(RouterGemmParams) == 8 * 18, "host and kernels agree on this layout");

}  // namespace kiln
