// SPDX-License-Identifier: Apache-2.0
// Products of 16 x 16 matrices on matrix instructions, chained in registers. A Square holds X[v, x]
// in fp32; as an Operand it is multiplied by a matrix M[y, x] in shared memory, and what comes out
// is again a Square, over v and y. With mma.sync it is operand A of the next product in the very
// registers that it was computed in, with MFMA, transposed, operand B.
//
// fp32 goes through bf16 instructions as a sum of two bf16 numbers, in three products: relative
// errors of about 2^-16 of the largest addend.
#pragma once

#include "kiln/mma.h"

namespace kiln {
namespace kda_prefill_detail {

struct HighLow {
  float high, low;
  KILN_DEVICE explicit HighLow(float x) : high(to_float(from_float<bf16>(x))), low(x - high) {}
};

// A matrix in shared memory, rows `stride` apart.
struct StaticMatrix {
  MatrixTile<bf16, RowMajor> high, low;
  KILN_DEVICE StaticMatrix(const Shared<bf16>& high_cells, const Shared<bf16>& low_cells,
                           int stride)
      : high(high_cells, RowMajor{stride}), low(low_cells, RowMajor{stride}) {}
};

#if KILN_WARP_SIZE == 32

struct Square {
  static constexpr int kElements = 8;
  MmaC halves[2] = {};
  KILN_DEVICE float& at(int e) { return halves[e / 4].values[e % 4]; }
  KILN_DEVICE static int v(int e) { return MmaC::row(e % 4); }
  KILN_DEVICE static int x(int e) { return e / 4 * 8 + MmaC::column(e % 4); }
};

struct Operand {
  MmaA high, low;
  KILN_DEVICE explicit Operand(Square& square) {
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const HighLow one(square.at(w / 2 * 4 + w % 2 * 2));
      const HighLow two(square.at(w / 2 * 4 + w % 2 * 2 + 1));
      high.words[w] = matrix_word<bf16>(one.high, two.high, MmaA::row(w), MmaA::column(w));
      low.words[w] = matrix_word<bf16>(one.low, two.low, MmaA::row(w), MmaA::column(w));
    }
  }
};

// sum[v, y] += sum over x of operand[v, x] matrix[first_y + y, first_x + x]
KILN_DEVICE void multiply(const Operand& operand, const StaticMatrix& matrix, int first_y,
                          int first_x, Square& sum) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    MmaB high, low;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int x = first_x + MmaB::row(i), y = first_y + half * 8 + MmaB::column(i);
      high.words[i] = matrix.high.transposed().word(x, y);
      low.words[i] = matrix.low.transposed().word(x, y);
    }
    MmaC& to = sum.halves[half];
    to = mma_m16n8k16<bf16>(operand.low, high, to);
    to = mma_m16n8k16<bf16>(operand.high, low, to);
    to = mma_m16n8k16<bf16>(operand.high, high, to);
  }
}

#else

struct Square {
  static constexpr int kElements = 4;
  MfmaC<16> transposed = {};
  KILN_DEVICE float& at(int e) { return transposed.values[e]; }
  KILN_DEVICE static int v(int e) { return MfmaC<16>::column(e); }
  KILN_DEVICE static int x(int e) { return MfmaC<16>::row(e); }
};

struct Operand {
  MfmaB<16> high, low;
  KILN_DEVICE explicit Operand(Square& square) {
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const HighLow one(square.at(2 * w)), two(square.at(2 * w + 1));
      const int row = MfmaB<16>::row(w), column = MfmaB<16>::column(w);
      high.words[w] = matrix_word<bf16, Run::along_column>(one.high, two.high, row, column);
      low.words[w] = matrix_word<bf16, Run::along_column>(one.low, two.low, row, column);
    }
  }
};

KILN_DEVICE void multiply(const Operand& operand, const StaticMatrix& matrix, int first_y,
                          int first_x, Square& sum) {
  MfmaA<16> high, low;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int y = first_y + MfmaA<16>::row(i), x = first_x + MfmaA<16>::column(i);
    high.words[i] = matrix.high.word(y, x);
    low.words[i] = matrix.low.word(y, x);
  }
  MfmaC<16>& to = sum.transposed;
  to = mfma_16x16x16(high, operand.low, to);
  to = mfma_16x16x16(low, operand.high, to);
  to = mfma_16x16x16(high, operand.high, to);
}

#endif

}  // namespace kda_prefill_detail
}  // namespace kiln
