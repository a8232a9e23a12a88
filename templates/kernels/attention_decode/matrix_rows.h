// SPDX-License-Identifier: Apache-2.0
// How the kernel on matrix instructions cuts its work; the launch plan and the kernel both ask
// here.
#pragma once

#ifdef KILN_DEVICE
#define KILN_ROWS_DEVICE KILN_DEVICE
#else
#define KILN_ROWS_DEVICE
#endif

namespace kiln {

// Rows (query heads of query tokens) that a block takes, where `group` query heads share a
// key/value head: as many as one matrix instruction has columns on NVIDIA, or twice as many as long
// as their sums fit in registers.
KILN_ROWS_DEVICE constexpr int attention_decode_matrix_rows(int group, int d_qk, int d_vo) {
  return group > 8 && d_qk + d_vo <= 256 ? 16 : 8;
}

}  // namespace kiln
