// SPDX-License-Identifier: Apache-2.0
// The arguments of one qk_rmsnorm call, as every implementation gets them: what varies from call to
// call. Read by host and kernels alike, so it holds plain C types and no address of a C++ object.
//
// Each side, q and k, is M rows of `heads` vectors; the shape fixes their sizes Nq and Nk, the
// types, and whether there is a rotation or a quantised q. A norm over whole rows is the case of
// one head.
#pragma once

namespace kiln {

// Where all that shares a scale is smaller than this, the scale is made as if of it: no division by
// zero.
constexpr float kQkRmsnormAmaxMin = 1e-10F;

struct QkRmsnormParams {
  // Element [row, head, i] of a tensor is at row * row_stride + head * head_stride + i.
  struct Side {
    const void* in;            // io type [M, heads, N]
    long long in_row_stride;   // elements
    long long in_head_stride;  // elements
    // io type [M, heads, N], or e4m3 for a quantised q; either `in` itself with the same strides,
    // or elsewhere.
    void* out;
    long long out_row_stride;   // elements
    long long out_head_stride;  // elements
    const void* weight;         // weight type [N], dense
    int heads;
    float eps;  // added to the mean of the squares
  };
  // Unused where the shape has rope=none.
  struct Rope {
    const void* positions;  // [M], i32 or, if wide_positions, i64
    long long positions_stride;
    const void* cos;  // table type [table_rows, rotary / 2], as sin
    const void* sin;
    long long cos_row_stride;
    long long sin_row_stride;
    long long table_rows;
    int wide_positions;
  };
  // Of q; unused where the shape has q_group=0.
  struct Scales {
    float* data;  // [M, heads, Nq / q_group]
    long long row_stride;
    long long head_stride;
    long long group_stride;
  };

  Side q;
  Side k;
  Rope rope;
  Scales scales;
  int rows;  // M
};
static_assert(sizeof(QkRmsnormParams) == 8 * 29, "host and kernels agree on this layout");

}  // namespace kiln
