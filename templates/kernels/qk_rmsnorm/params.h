// SPDX-License-Identifier: Apache-2.0
// The arguments of one qk_rmsnorm call, as every implementation gets them: what varies from call to
// call. Read by host and kernels alike, so it holds plain C types and no address of a C++ object.
//
// Each side, q and k, is M rows of `heads` vectors; the shape fixes their sizes Nq and Nk and the
// types. A norm over whole rows is the case of one head.
#pragma once

namespace kiln {

struct QkRmsnormParams {
  // Element [row, head, i] of a tensor is at row * row_stride + head * head_stride + i.
  struct Side {
    const void* in;            // io type [M, heads, N]
    long long in_row_stride;   // elements
    long long in_head_stride;  // elements
    // io type [M, heads, N]; either `in` itself with the same strides, or elsewhere.
    void* out;
    long long out_row_stride;   // elements
    long long out_head_stride;  // elements
    const void* weight;         // weight type [N], dense
    int heads;
    float eps;  // added to the mean of the squares
  };

  Side q;
  Side k;
  int rows;  // M
};
static_assert(sizeof(QkRmsnormParams) == 8 * 17, "host and kernels agree on this layout");

}  // namespace kiln
