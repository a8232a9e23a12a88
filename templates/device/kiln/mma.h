// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a warp: D = A B + C with 16-bit A and B, float C and D. Which element each
// lane holds is part of each instruction's contract: row(i) and column(i) of a fragment say it for
// the lane that asks, counted in the instruction's own matrix. Where a kernel has formulas of its
// own, the checked mode of the SIMT dialect holds them against the vendors' documents: A and B by
// the names of their elements (kiln/matrix_tile.h), which must all be off by the same rows and
// columns; C and D where they are reached by at().
#pragma once

#include "kiln/matrix_tile.h"
#include "kiln/thread.h"

namespace kiln {

#if KILN_DIALECT_CUDA || (KILN_DIALECT_SIMT && KILN_WARP_SIZE == 32)

// m16n8k16: A is 16x16, B 16x8, C 16x8.
struct MmaA {
  MatrixWord words[4];
  // Of the first element of word i; the second is a column on.
  KILN_DEVICE static int row(int i) { return lane() / 4 + i % 2 * 8; }
  KILN_DEVICE static int column(int i) { return lane() % 4 * 2 + i / 2 * 8; }
};
struct MmaB {
  MatrixWord words[2];
  // Of the first element of word i; the second is a row on.
  KILN_DEVICE static int row(int i) { return lane() % 4 * 2 + i * 8; }
  KILN_DEVICE static int column(int) { return lane() / 4; }
};
struct MmaC {
  float values[4];
  KILN_DEVICE static int row(int i) { return lane() / 4 + i / 2 * 8; }
  KILN_DEVICE static int column(int i) { return lane() % 4 * 2 + i % 2; }
  // Value i, which the caller takes for (row, column).
  KILN_DEVICE float& at(int i, int row, int column, Site = {}) {
#if KILN_DIALECT_SIMT
    dialect::matrix_value(kKilnSimtMmaBf16, i, row, column);
#endif
    (void)row, (void)column;
    return values[i];
  }
};

template <class T>
KILN_DEVICE MmaC mma_m16n8k16(const MmaA& a, const MmaB& b, const MmaC& c, Site = {}) {
  static_assert(is_same<T, bf16> || is_same<T, f16>, "mma_m16n8k16 multiplies bf16 or f16");
  MmaC d;
#if KILN_DIALECT_SIMT
  dialect::matrix(is_same<T, bf16> ? kKilnSimtMmaBf16 : kKilnSimtMmaF16, a.words, b.words, c.values,
                  d.values);
#else
  if constexpr (is_same<T, bf16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d.values[0]), "=f"(d.values[1]), "=f"(d.values[2]), "=f"(d.values[3])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "r"(b.words[0].bits), "r"(b.words[1].bits), "f"(c.values[0]), "f"(c.values[1]),
          "f"(c.values[2]), "f"(c.values[3]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d.values[0]), "=f"(d.values[1]), "=f"(d.values[2]), "=f"(d.values[3])
        : "r"(a.words[0].bits), "r"(a.words[1].bits), "r"(a.words[2].bits), "r"(a.words[3].bits),
          "r"(b.words[0].bits), "r"(b.words[1].bits), "f"(c.values[0]), "f"(c.values[1]),
          "f"(c.values[2]), "f"(c.values[3]));
  }
#endif
  return d;
}

#endif

#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__) || \
    (KILN_DIALECT_SIMT && KILN_WARP_SIZE == 64)

// MFMA on 64 lanes; `size` is 16 or 32, the depth 256 / size: A is size x depth, B depth x size, C
// size x size.
template <int size>
struct MfmaA {
  MatrixWord words[2];
  // Of the first element of word i; the second is a column on.
  KILN_DEVICE static int row(int) { return lane() % size; }
  KILN_DEVICE static int column(int i) { return lane() / size * 4 + i * 2; }
};
template <int size>
struct MfmaB {
  MatrixWord words[2];
  // Of the first element of word i; the second is a row on.
  KILN_DEVICE static int row(int i) { return lane() / size * 4 + i * 2; }
  KILN_DEVICE static int column(int) { return lane() % size; }
};
template <int size>
struct MfmaC {
  float values[size * size / 64];
  KILN_DEVICE static int row(int i) { return i / 4 * (256 / size) + lane() / size * 4 + i % 4; }
  KILN_DEVICE static int column(int) { return lane() % size; }
  // Value i, which the caller takes for (row, column).
  KILN_DEVICE float& at(int i, int row, int column, Site = {}) {
#if KILN_DIALECT_SIMT
    dialect::matrix_value(size == 16 ? kKilnSimtMfma16Bf16 : kKilnSimtMfma32Bf16, i, row, column);
#endif
    (void)row, (void)column;
    return values[i];
  }
};

namespace mma_detail {
typedef short Short4 __attribute__((ext_vector_type(4)));
typedef float Float4 __attribute__((ext_vector_type(4)));
typedef float Float16 __attribute__((ext_vector_type(16)));

KILN_DEVICE Short4 four_of(const MatrixWord (&words)[2]) {
  return bit_cast<Short4>(static_cast<u64>(words[0].bits) | static_cast<u64>(words[1].bits) << 32);
}
}  // namespace mma_detail

KILN_DEVICE MfmaC<16> mfma_16x16x16(const MfmaA<16>& a, const MfmaB<16>& b, const MfmaC<16>& c,
                                    Site = {}) {
#if KILN_DIALECT_SIMT
  MfmaC<16> d;
  dialect::matrix(kKilnSimtMfma16Bf16, a.words, b.words, c.values, d.values);
  return d;
#else
  return bit_cast<MfmaC<16> >(__builtin_amdgcn_mfma_f32_16x16x16bf16_1k(
      mma_detail::four_of(a.words), mma_detail::four_of(b.words), bit_cast<mma_detail::Float4>(c),
      0, 0, 0));
#endif
}

KILN_DEVICE MfmaC<32> mfma_32x32x8(const MfmaA<32>& a, const MfmaB<32>& b, const MfmaC<32>& c,
                                   Site = {}) {
#if KILN_DIALECT_SIMT
  MfmaC<32> d;
  dialect::matrix(kKilnSimtMfma32Bf16, a.words, b.words, c.values, d.values);
  return d;
#else
  return bit_cast<MfmaC<32> >(__builtin_amdgcn_mfma_f32_32x32x8bf16_1k(
      mma_detail::four_of(a.words), mma_detail::four_of(b.words), bit_cast<mma_detail::Float16>(c),
      0, 0, 0));
#endif
}

#endif

}  // namespace kiln
